"""Whom a RADIUS server let in: what is told of him, when he is ended, and what a server may want. Over real sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from gateway.crypto.radius import sign_answer
from gateway.ike import reasons
from gateway.policy.radius import RadiusServer
from gateway.policy.visits import Visit
from gateway.service.radius import accounting
from gateway.service.radius.accounting import Carried, Cause, Status
from gateway.service.radius.asking import Radius
from gateway.service.radius.client import Granted
from gateway.service.radius.dynamic import Wanted, Which
from gateway.service.radius.visits import EXPELLED, Hold
from gateway.wire.radius import Code, Packet, Type, parse

SECRET = b"a secret of two"
NOTHING = Granted("anna", None, None, (b"staff",), (), None, None, None)


class Books(asyncio.DatagramProtocol):
    """An accounting server: it writes down what it is told, and says so."""

    def __init__(self) -> None:
        self.told: list[Packet] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = parse(data)
        self.told.append(request)
        answer = sign_answer(Packet(Code.ACCOUNTING_RESPONSE, request.identifier, bytes(16), ()), request, SECRET)
        assert self._transport is not None
        self._transport.sendto(answer.octets(), addr)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def kinds(self) -> list[int | None]:
        return [one.number(Type.ACCT_STATUS_TYPE) for one in self.told]


@dataclass
class Site:
    """A gateway's RADIUS, and what it asked of the engine."""

    books: Books
    port: int
    carried: dict[Visit, Carried] = field(default_factory=dict)
    expelled: list[tuple[Visit, str]] = field(default_factory=list)
    forgotten: list[Visit] = field(default_factory=list)
    looked: Visit | None = None
    """Whose counters were looked at last."""
    radius: Radius = field(init=False)

    def __post_init__(self) -> None:
        hold = Hold(self.expel, lambda _: ("10.3.0.77", "fd03::77"), lambda: ("gate.example",))
        hold.carried = self.look
        hold.forget = self.forgotten.append
        self.radius = Radius(hold, self.port)

    def look(self, visit: Visit) -> Carried:
        self.looked = visit
        return self.carried.get(visit, Carried())

    def expel(self, visit: Visit, why: str) -> None:
        """As the engine does: the counters go at once, the visit leaves some time after that."""
        assert self.looked is visit, "nobody looked what it carried at last"
        self.expelled.append((visit, why))

    @property
    def server(self) -> RadiusServer:
        return RadiusServer("one", "127.0.0.1", SECRET, accounting_port=self.books.port, timeout=0.2, tries=2)

    def enter(self, grant: object = NOTHING, user: str = "anna") -> Visit:
        visit = Visit(user, "192.0.2.1:4500", "192.0.2.2:4500", "gate.example", grant)
        self.radius.visits.enter(visit)
        return visit


async def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    books = Books()
    await books.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = Site(books, port)
    site.radius.apply((site.server,))
    yield site
    await site.radius.close(0.0)
    books.close()


@pytest.mark.parametrize(
    ("cause", "why", "told"),
    [
        ("peer-error", reasons.DELETED, Cause.USER_REQUEST),
        ("peer-error", "the peer ended it with INVALID_SYNTAX", Cause.NAS_ERROR),
        ("timeout", "the peer does not answer", Cause.LOST_CARRIER),
        ("stopped", reasons.TERMINATED, Cause.ADMIN_RESET),
        ("stopped", reasons.STOPPED, Cause.ADMIN_REBOOT),
        ("stopped", reasons.RECONFIGURED, Cause.NAS_REQUEST),
    ],
)
async def test_start_and_stop_tell_who_what_and_why(site: Site, cause: str, why: str, told: Cause) -> None:
    visit = site.enter()
    site.carried[visit] = Carried(5 << 32 | 7, 9, 1, 2)
    await until(lambda: site.books.kinds == [Status.START])
    site.radius.visits.leave(visit, cause, why)
    await until(lambda: site.forgotten == [visit])
    start, stop = site.books.told
    for one in (start, stop):
        assert (one.text(Type.USER_NAME), one.text(Type.CALLING_STATION_ID)) == ("anna", "192.0.2.1:4500")
        assert (str(one.ipv4(Type.FRAMED_IP_ADDRESS)), list(one.all(Type.CLASS))) == ("10.3.0.77", [b"staff"])
    assert start.text(Type.ACCT_SESSION_ID) == stop.text(Type.ACCT_SESSION_ID) != ""
    assert stop.number(Type.ACCT_TERMINATE_CAUSE) == told
    assert (stop.number(Type.ACCT_INPUT_OCTETS), stop.number(Type.ACCT_INPUT_GIGAWORDS)) == (7, 5)


@pytest.mark.parametrize("named", [True, False], ids=["the-server-names-it", "the-configuration-names-it"])
async def test_reports_in_between(site: Site, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "SHORTEST_INTERIM", 0.05)
    site.radius.apply((replace(site.server, interim=3600.0 if named else 0.01),))
    visit = site.enter(replace(NOTHING, interim_interval=0.01 if named else None))
    await until(lambda: site.books.kinds[:3] == [Status.START, Status.INTERIM, Status.INTERIM])
    site.radius.visits.leave(visit, "timeout", "")
    await until(lambda: site.books.kinds[-1] == Status.STOP)


async def test_no_reports_in_between_where_nobody_names_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "SHORTEST_INTERIM", 0.01)
    site.enter()
    await asyncio.sleep(0.3)
    assert site.books.kinds == [Status.START]


async def test_who_is_idle_is_ended_and_who_is_not_is_not(site: Site) -> None:
    busy, idle = site.enter(replace(NOTHING, idle_timeout=1)), site.enter(replace(NOTHING, idle_timeout=1))
    began = time.monotonic()
    while not site.expelled:
        assert time.monotonic() < began + 10
        site.carried[busy] = Carried(packets_in=time.monotonic_ns())
        await asyncio.sleep(0.02)
    assert site.expelled == [(idle, reasons.IDLE.format(seconds=1.0))]
    assert time.monotonic() - began >= 1
    site.radius.visits.leave(idle, "stopped", site.expelled[0][1])
    await until(lambda: Status.STOP in site.books.kinds)
    assert site.books.told[-1].number(Type.ACCT_TERMINATE_CAUSE) == Cause.IDLE_TIMEOUT


async def test_a_server_ends_those_that_it_means_and_each_once(site: Site) -> None:
    anna, bert = site.enter(), site.enter(user="bert")
    visits = site.radius.visits
    assert await visits.disconnect(Which(user="carl")) == 0
    assert await visits.disconnect(Which(user="bert", calling="192.0.2.9:4500")) == 0
    assert await visits.disconnect(Which(user="bert", called="192.0.2.9:4500")) == 0
    assert await visits.disconnect(Which(user="bert", calling="192.0.2.1:4500", called="192.0.2.2:4500")) == 1
    assert await visits.disconnect(Which(user="bert")) == 0, "he is on his way out"
    assert site.expelled == [(bert, EXPELLED)]
    visits.leave(bert, "stopped", EXPELLED)
    await until(lambda: Status.STOP in site.books.kinds)
    stop = site.books.told[-1]
    assert (stop.text(Type.USER_NAME), stop.number(Type.ACCT_TERMINATE_CAUSE)) == ("bert", Cause.ADMIN_RESET)
    assert await visits.disconnect(Which(session_id=visits._stays[anna].session.id)) == 1
    assert site.expelled[1:] == [(anna, EXPELLED)]


async def test_a_server_changes_how_long_somebody_may_stay(site: Site) -> None:
    short, long = site.enter(replace(NOTHING, session_timeout=1)), site.enter(replace(NOTHING, session_timeout=3600))
    visits = site.radius.visits
    assert await visits.change(Which(user="anna"), Wanted(None, None)) == 2
    session = visits._stays[short].session.id
    assert await visits.change(Which(session_id=session), Wanted(0, None)) == 1
    await asyncio.sleep(1.2)
    assert site.expelled == [], "0 takes the limit away"
    other = visits._stays[long].session.id
    assert await visits.change(Which(session_id=other), Wanted(1, None)) == 1
    await until(lambda: site.expelled)
    assert site.expelled[0][0] is long and "gave it 1 seconds" in site.expelled[0][1]


async def test_a_server_that_keeps_no_accounts_is_told_nothing_and_may_let_in(site: Site) -> None:
    site.radius.apply((replace(site.server, accounting=False),))
    visit = site.enter()
    assert await site.radius.visits.disconnect(Which(user="anna")) == 1
    site.radius.visits.leave(visit, "stopped", "")
    await asyncio.sleep(0.1)
    assert (site.books.told, site.forgotten) == ([], [visit])


async def test_silence_about_accounting_is_no_silence_about_who_may_come_in(site: Site) -> None:
    site.radius.apply((replace(site.server, accounting_port=9), replace(site.server, name="two")))
    site.enter()
    await until(lambda: site.books.kinds == [Status.START])  # the other one hears of it
    assert site.radius._client is not None
    assert [one.name for one in site.radius._client._in_turn(None)] == ["one", "two"]
    assert [one.name for one in site.radius._client._in_turn(None, accounting=True)] == ["two", "one"]


async def test_a_report_under_way_goes_to_the_servers_of_a_changed_configuration(site: Site) -> None:
    slow = replace(site.server, accounting_port=9, timeout=30.0)
    site.radius.apply((slow, replace(slow, name="two")))
    site.enter()
    former = site.radius._client
    assert former is not None
    await until(lambda: any(link._asked for link in former._links.values()))
    site.radius.apply((site.server,))
    await until(lambda: site.books.kinds == [Status.START])
    assert all(link._transport is None for link in former._links.values()), "a socket stays open"


async def test_when_the_gateway_stops_the_server_hears_of_it(site: Site) -> None:
    site.enter()
    await until(lambda: site.books.kinds == [Status.START])
    await site.radius.close(5.0)
    assert site.books.kinds == [Status.START, Status.STOP]
    assert site.books.told[-1].number(Type.ACCT_TERMINATE_CAUSE) == Cause.ADMIN_REBOOT


async def test_a_silent_server_keeps_nobody_from_stopping(site: Site) -> None:
    site.radius.apply((replace(site.server, accounting_port=9, timeout=30.0),))
    site.enter()
    await asyncio.wait_for(site.radius.close(0.1), 10)
    assert not site.radius.visits._tasks


async def test_the_port_is_open_while_a_server_may_use_it(site: Site) -> None:
    def free() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", site.port))
            except OSError:
                return False
            return True

    assert free()
    site.radius.apply((replace(site.server, dynamic=True),))
    await until(lambda: not free())
    site.radius.apply((site.server,))
    await until(free)


async def test_the_port_stays_open_when_a_secret_is_changed(site: Site) -> None:
    server = replace(site.server, dynamic=True)
    site.radius.apply((server,))
    await until(lambda: site.radius._listener)
    first = site.radius._listener
    site.radius.apply((replace(server, secret=b"another one"),))
    await until(lambda: not site.radius._turns)
    assert site.radius.problems == ()
    assert site.radius._listener not in (None, first)


async def test_a_port_that_is_taken_is_a_problem_until_it_is_not_wanted(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", site.port))
        site.radius.apply((replace(site.server, dynamic=True),))
        await until(lambda: site.radius.problems)
        assert f"UDP port {site.port} is not free" in site.radius.problems[0]
        site.radius.apply((site.server,))
        await until(lambda: not site.radius.problems)
