"""Our RADIUS client and FreeRADIUS, with our own EAP peer as who wants to come in."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from gateway.ike.authentication.eap import peer
from gateway.ike.authentication.eap.gate import Account, Proven
from gateway.ike.authentication.eap.talk import Failed, PeerTalk
from gateway.policy.radius import RadiusServer
from gateway.service.radius.accounting import Accounting, Carried, Cause, Session, Status
from gateway.service.radius.client import Accept, Caller, Challenge, Client, NoServer, Reject, Verdict
from gateway.service.radius.dynamic import Listener, Wanted, Which
from gateway.wire.numbers import EapCode, EapType
from gateway.wire.payloads import EAP
from tests.lab.appliance import until
from tests.lab.freeradius import FreeRadius, radclient

pytestmark = [pytest.mark.interop, pytest.mark.requires("freeradius")]

USERS = """
alice Cleartext-Password := "wonderland"
  Framed-IP-Address = 10.3.0.77,
  Framed-IPv6-Address = fd03::77,
  Class = "staff",
  Class += "vpn",
  Filter-Id = "office",
  Session-Timeout = 3600,
  Idle-Timeout = 600,
  Acct-Interim-Interval = 300,
  Reply-Message = "hello"
mute Cleartext-Password := "wonderland", Auth-Type := Reject
  Reply-Message = "not today"
"""
CALLER = Caller("198.51.100.7:4500", "192.0.2.1:4500", "gateway.example")
MSCHAPV2, MD5 = EapType.EAP_MSCHAP_V2, EapType.MD5_CHALLENGE


@dataclass
class Door:
    """Where our EAP peer knocks: its packets go to the servers, as the gateway would pass them on."""

    client: Client
    identity: bytes = b""
    verdicts: list[Verdict] = field(default_factory=list)

    async def carry(self, packet: EAP) -> EAP:
        if packet.data[:1] == bytes((EapType.IDENTITY,)):
            self.identity = packet.data[1:]
        last = self.verdicts[-1] if self.verdicts else None
        state = last.state if isinstance(last, Challenge) else None
        verdict = await self.client.authenticate(self.identity, packet.octets(), CALLER, state)
        self.verdicts.append(verdict)
        return EAP.read(verdict.eap, 0, len(verdict.eap))


async def enter(door: Door, name: bytes, password: bytes, *methods: int) -> Proven:
    account = Account(name, password, methods, os.urandom)
    return await peer.prove(PeerTalk(door.carry), account, EAP(EapCode.REQUEST, 1, bytes((EapType.IDENTITY,))))


def told(radius: FreeRadius, name: str = "one", **other: object) -> RadiusServer:
    """The server as our configuration has it."""
    ports = {"port": radius.port, "accounting_port": radius.accounting_port}
    fields = {"secret": radius.secret, "timeout": 10.0, **ports, **other}  # a second try is a second record
    return RadiusServer(name, "127.0.0.1", **fields)  # type: ignore[arg-type]


def client_of(*servers: RadiusServer) -> Client:
    return Client(servers, os.urandom, time.monotonic)


@pytest.fixture(scope="module")
def radius(tmp_path_factory: pytest.TempPathFactory) -> object:
    with FreeRadius(tmp_path_factory.mktemp("radius"), USERS) as running:
        yield running


@pytest.fixture
async def door(radius: FreeRadius) -> AsyncIterator[Door]:
    client = client_of(told(radius))
    yield Door(client)
    client.close()


async def test_mschapv2_gives_the_same_key_to_both_ends_and_what_the_server_grants(door: Door) -> None:
    proven = await enter(door, b"alice", b"wonderland", MSCHAPV2)
    accept = door.verdicts[-1]
    assert isinstance(accept, Accept)
    assert accept.msk == proven.msk
    assert len(accept.msk) == 64 and any(accept.msk)
    granted = accept.granted
    assert (granted.user, str(granted.ipv4), str(granted.ipv6)) == ("alice", "10.3.0.77", "fd03::77")
    assert (granted.classes, granted.filters) == ((b"staff", b"vpn"), ("office",))
    assert (granted.session_timeout, granted.idle_timeout, granted.interim_interval) == (3600, 600, 300)
    assert "wonderland" not in repr(door.verdicts) and accept.msk.hex() not in repr(accept)


async def test_md5_makes_no_key_and_the_peer_chooses_it_by_nak(door: Door) -> None:
    proven = await enter(door, b"alice", b"wonderland", MD5)
    accept = door.verdicts[-1]
    assert isinstance(accept, Accept)
    assert accept.msk == proven.msk == b""
    assert [type(verdict) for verdict in door.verdicts] == [Challenge, Challenge, Accept]


@pytest.mark.parametrize("method", [MSCHAPV2, MD5])
async def test_a_wrong_password_is_refused(door: Door, method: int) -> None:
    with pytest.raises(Failed):
        await enter(door, b"alice", b"looking-glass", method)
    reject = door.verdicts[-1]
    assert isinstance(reject, Reject) and reject.why.startswith("the RADIUS server one refused")
    assert reject.eap[0] == EapCode.FAILURE


async def test_why_the_server_refuses_is_told(radius: FreeRadius, door: Door) -> None:
    """FreeRADIUS 3.2.1 refuses without EAP, and then signs nothing: that is believed only where it is allowed."""
    response = EAP(EapCode.RESPONSE, 1, bytes((EapType.IDENTITY,)) + b"mute")
    with pytest.raises(NoServer, match="no Message-Authenticator"):
        await door.client.authenticate(b"mute", response.octets(), CALLER)
    client = client_of(told(radius, unsigned_rejects=True))
    reject = await client.authenticate(b"mute", response.octets(), CALLER)
    client.close()
    assert isinstance(reject, Reject)
    assert reject.why == "the RADIUS server one refused: not today"
    assert reject.eap == b"", "EAP Failure is left to us"


async def test_a_wrong_shared_secret_is_silence_with_its_reason(radius: FreeRadius) -> None:
    before = len(radius.log())
    client = client_of(told(radius, secret=b"another secret", timeout=0.5, tries=2))
    with pytest.raises(NoServer, match="one: no answer to 2 tries"):
        await client.authenticate(b"alice", EAP(EapCode.RESPONSE, 1, b"\1alice").octets(), CALLER)
    client.close()
    until(lambda: "invalid Message-Authenticator" in radius.log()[before:], "the server tells why it is silent")


async def test_a_silent_server_is_passed_over_and_asked_last_from_then_on(radius: FreeRadius) -> None:
    deaf = told(radius, "deaf", port=9, timeout=0.2, tries=2)  # nobody listens on the port "discard"
    client = client_of(deaf, told(radius, "live"))
    for number in range(2):
        door = Door(client)
        await enter(door, b"alice", b"wonderland", MSCHAPV2)
        assert isinstance(door.verdicts[0], Challenge) and door.verdicts[0].state.server == "live"
        assert [server.name for server in client._in_turn(None)] == ["live", "deaf"], number
    client.close()


async def test_many_conversations_at_a_time_keep_apart(radius: FreeRadius) -> None:
    client = client_of(told(radius))
    doors = [Door(client) for _ in range(40)]
    proven = await asyncio.gather(*(enter(door, b"alice", b"wonderland", MSCHAPV2) for door in doors))
    for door, one in zip(doors, proven, strict=True):
        accept = door.verdicts[-1]
        assert isinstance(accept, Accept) and accept.msk == one.msk
    assert len({one.msk for one in proven}) == len(doors)
    client.close()


# --- accounting ---


async def test_a_session_is_accounted_from_its_start_to_its_end(radius: FreeRadius) -> None:
    client = client_of(told(radius))
    accounting = Accounting(client, time.monotonic, time.time)
    session = Session("ikegate-7-1", "alice", CALLER, ip_address("10.3.0.77"), ip_address("fd03::77"), (b"staff",))
    carried = Carried(5 << 32 | 7, 9, 11, 12)
    await accounting.report(Status.INTERIM, session, carried, 61.5)
    ended: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()
    ended.set_result(Cause.IDLE_TIMEOUT)
    await accounting.accompany(session, lambda: carried, ended, 300)
    client.close()
    interim, start, stop = radius.accounted()
    assert [one["Acct-Status-Type"] for one in (interim, start, stop)] == ["Interim-Update", "Start", "Stop"]
    for one in (interim, start, stop):
        assert (one["Acct-Session-Id"], one["User-Name"]) == (session.id, "alice")
        assert (one["Framed-IP-Address"], one["Framed-IPv6-Address"]) == ("10.3.0.77", "fd03::77")
        assert (one["NAS-IP-Address"], one["NAS-Identifier"]) == ("192.0.2.1", "gateway.example")
        assert bytes.fromhex(one["Class"].removeprefix("0x")) == b"staff"
    assert (interim["Acct-Input-Octets"], interim["Acct-Input-Gigawords"]) == ("7", "5")
    assert (interim["Acct-Output-Octets"], interim["Acct-Session-Time"]) == ("9", "61")
    assert stop["Acct-Terminate-Cause"] == "Idle-Timeout"
    assert "Acct-Input-Octets" not in start


# --- what the server wants ---


@dataclass
class Everybody:
    """Who is in: alice, and nobody else."""

    asked: list[tuple[Which, Wanted | None]] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        return ("gateway.example",)

    async def disconnect(self, which: Which) -> int:
        self.asked.append((which, None))
        return int(which.user == "alice")

    async def change(self, which: Which, wanted: Wanted) -> int:
        self.asked.append((which, wanted))
        return int(which.user == "alice")


async def test_radclient_disconnects_and_changes() -> None:
    sessions = Everybody()
    server = RadiusServer("one", "127.0.0.1", b"of two")
    listener = Listener({"one": server}, sessions, time.time)
    where = f"127.0.0.1:{await listener.open('127.0.0.1', 0)}"

    async def client(code: str, *attributes: str, secret: str = "of two") -> str:
        return await asyncio.to_thread(radclient, where, code, secret, *attributes)

    assert "Received Disconnect-ACK" in await client(
        "disconnect", 'User-Name = "alice"', f"Event-Timestamp = {int(time.time())}"
    )
    assert sessions.asked == [(Which(user="alice"), None)]
    refused = await client("disconnect", 'User-Name = "bob"', 'Acct-Session-Id = "7"', "Framed-IP-Address = 10.3.0.7")
    assert "Received Disconnect-NAK" in refused and "Error-Cause = Session-Context-Not-Found" in refused
    assert sessions.asked[-1] == (Which("bob", "7", ip_address("10.3.0.7")), None)
    now = f"Event-Timestamp = {int(time.time())}"
    assert "Missing-Attribute" in await client("disconnect", 'User-Name = "alice"')
    done = await client("coa", 'User-Name = "alice"', now, "Session-Timeout = 60", "Message-Authenticator = 0x00")
    assert "Received CoA-ACK" in done
    assert sessions.asked[-1] == (Which(user="alice"), Wanted(60, None))
    count = len(sessions.asked)
    assert "Unsupported-Attribute" in await client("coa", 'User-Name = "alice"', "Tunnel-Type = ESP")
    assert "Missing-Attribute" in await client("disconnect", 'NAS-Identifier = "gateway.example"')
    assert "NAS-Identification-Mismatch" in await client(
        "disconnect", 'User-Name = "alice"', 'NAS-Identifier = "other"'
    )
    assert "No reply" in await client("disconnect", 'User-Name = "alice"', secret="another")
    assert len(sessions.asked) == count
    await listener.close()
