"""The UDP sockets of IKE, over loopback."""

import asyncio
import socket

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.path import Path
from gateway.service.listening import Listening
from gateway.service.transport import Transport, locate
from gateway.settings import InvalidSetting, Settings


def free_port(kind: socket.AddressFamily, host: str) -> int:
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def test_an_icmp_error_names_the_address_and_costs_no_other_datagram() -> None:
    errors: list[str] = []
    came: list[bytes] = []
    transport = Transport(0, 0, lambda data, _: came.append(data), errors.append, "127.0.0.1")
    transport.open(MemoryPlane())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            there.bind(("127.0.0.2", 0))
            there.settimeout(5)
            gone = free_port(socket.AF_INET, "127.0.0.3")
            for _ in range(3):  # over loopback the error is there before the next datagram is sent
                transport.send(b"to nobody", Path("127.0.0.1", "127.0.0.3", gone))
                transport.send(b"to somebody", Path("127.0.0.1", "127.0.0.2", there.getsockname()[1]))
            for _ in range(3):
                data, address = there.recvfrom(100)
                assert data == b"to somebody"
            there.sendto(b"an answer", address)
            async with asyncio.timeout(5):
                while not came or len(errors) < 3:
                    await asyncio.sleep(0.01)
        assert errors == ["127.0.0.3"] * 3
        assert came == [b"an answer"]
        assert transport.lost == 3
    finally:
        transport.close()


async def test_an_icmp_error_over_ipv6_names_the_address() -> None:
    errors: list[str] = []
    transport = Transport(0, 0, lambda data, path: None, errors.append, "127.0.0.1")
    transport.open(MemoryPlane())
    try:
        transport.send(b"to nobody", Path("::1", "::1", free_port(socket.AF_INET6, "::1"), marked=True))
        async with asyncio.timeout(5):
            while not errors:
                await asyncio.sleep(0.01)
        assert errors == ["::1"]
    finally:
        transport.close()


async def test_the_way_to_a_peer_is_asked_for_from_one_port_that_no_policy_holds_for() -> None:
    transport = Transport(0, 0, lambda data, path: None, host="127.0.0.1")
    transport.open(MemoryPlane())
    ports: set[int] = set()

    def probe(family: int, source: str) -> socket.socket:
        sock = transport.probe(family, source)
        ports.add(sock.getsockname()[1])
        return sock

    try:
        assert await locate("127.0.0.2", 500, (), probe) == ("127.0.0.1", "127.0.0.2")
        assert await locate("127.0.0.2", 500, ("127.0.0.9", "::1"), probe) == ("127.0.0.9", "127.0.0.2")
        with pytest.raises(OSError, match=r"no way to 127\.0\.0\.2"):
            await locate("127.0.0.2", 500, ("203.0.113.1",), probe)
        assert len(ports) == 1
    finally:
        transport.close()


async def test_datagrams_carry_their_dscp_and_only_theirs() -> None:
    transport = Transport(0, 0, lambda data, path: None)
    transport.open(MemoryPlane())
    try:
        for family, host, asked, level, kind in (
            (socket.AF_INET, "127.0.0.1", socket.IP_RECVTOS, socket.IPPROTO_IP, socket.IP_TOS),
            (socket.AF_INET6, "::1", socket.IPV6_RECVTCLASS, socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
        ):
            with socket.socket(family, socket.SOCK_DGRAM) as there:
                there.bind((host, 0))
                there.settimeout(5)
                there.setsockopt(level, asked, 1)
                for dscp in (46, 0, 8):
                    transport.send(b"a datagram", Path(host, host, there.getsockname()[1]), dscp)
                    _, ancillary, _, _ = there.recvmsg(100, 64)
                    (value,) = [data[0] for at, what, data in ancillary if (at, what) == (level, kind)]
                    assert value >> 2 == dscp
    finally:
        transport.close()


async def test_only_what_comes_to_a_listening_address_is_served() -> None:
    came: list[tuple[bytes, str]] = []
    transport = Transport(0, 0, lambda data, path: came.append((data, path.local)), listening=Listening(("127.0.0.2",)))
    transport.open(MemoryPlane())
    try:
        port = transport.sockets[0].getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            for _ in range(2):
                there.sendto(b"elsewhere", ("127.0.0.1", port))
                there.sendto(b"here", ("127.0.0.2", port))
            async with asyncio.timeout(5):
                while transport.elsewhere < 2 or len(came) < 2:
                    await asyncio.sleep(0.01)
        assert came == [(b"here", "127.0.0.2")] * 2
    finally:
        transport.close()


def test_interfaces_stand_for_the_addresses_that_they_have_now() -> None:
    listening = Listening(("lo", "192.0.2.7", "absent0"))
    loopback = socket.if_nametoindex("lo")
    assert listening.serves("192.0.2.7")
    assert not listening.serves("127.0.0.1")
    listening.learn({"127.0.0.1": loopback, "::1": loopback, "198.51.100.1": loopback + 1000})
    assert listening.served(["127.0.0.1", "::1", "198.51.100.1", "192.0.2.7"]) == ("127.0.0.1", "::1", "192.0.2.7")
    listening.learn({})
    assert listening.served(["127.0.0.1", "192.0.2.7"]) == ("192.0.2.7",)
    assert Listening().serves("anywhere")
    assert Listening().sources == ()


def test_listening_places_come_from_the_environment() -> None:
    listen = Settings.from_environment({"IKEGATE_LISTEN": " 192.0.2.1, eth0,2001:db8::1,"}).listen
    assert listen == ("192.0.2.1", "eth0", "2001:db8::1")
    assert Settings.from_environment({}).listen == ()
    for wrong in ("192.0.2.0/24", "a name", "waytoolonginterface"):
        with pytest.raises(InvalidSetting, match="IKEGATE_LISTEN"):
            Settings.from_environment({"IKEGATE_LISTEN": wrong})


def test_where_ike_is_served_is_told_by_what_was_named() -> None:
    bound = [("0.0.0.0", 500), ("0.0.0.0", 4500), ("::", 500)]
    assert Listening().places(bound) == ("udp 0.0.0.0:500", "udp 0.0.0.0:4500", "udp [::]:500")
    told = ("udp 192.0.2.7:500", "udp 192.0.2.7:4500", "udp [2001:db8::7]:500", "udp [2001:db8::7]:4500")
    assert Listening(("192.0.2.7", "2001:db8::7")).places(bound) == told
    assert Listening(("eth1",)).places(bound[:2]) == ("udp eth1:500", "udp eth1:4500")
    assert Listening(("eth1",)).places([]) == ()
