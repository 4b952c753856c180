"""What the kernel's messages mean, and that nothing foreign or broken means anything."""

import asyncio
import socket
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.kernel_events import Events, read_event
from gateway.dataplane.netlink import attribute, messages, nlmsghdr
from gateway.dataplane.xfrm import (
    XFRM_MSG_ACQUIRE,
    XFRM_MSG_EXPIRE,
    XFRM_MSG_MAPPING,
    XFRM_MSG_NEWSA,
    XFRM_POLICY_OUT,
    XFRMA_IF_ID,
    XFRMA_MARK,
)
from gateway.dataplane.xfrm_messages import Place, place_of
from gateway.dataplane.xfrm_policies import Spot
from gateway.dataplane.xfrm_structs import (
    XfrmId,
    XfrmLifetimeCfg,
    XfrmUserAcquire,
    XfrmUserExpire,
    XfrmUserMapping,
    XfrmUserpolicyInfo,
    XfrmUsersaId,
    XfrmUsersaInfo,
)
from gateway.ike.plane import Direction, Policy, StateKey
from gateway.ike.plane_events import Acquire, Expire, PlaneEvent, Remapped
from gateway.policy.peers import Mark
from gateway.policy.selectors import Selector

KEY = StateKey("192.0.2.1", 0xC1234567)
WARNED = StateKey("192.0.2.1", 0xC1234569)
KEY6 = StateKey("2001:db8::1", 0xC1234568)
SELECTOR = b"\1" * 56
SPOT, MARKED = Spot(XFRM_POLICY_OUT, SELECTOR), Spot(XFRM_POLICY_OUT, SELECTOR, 7, Mark(5, 0xFF))
QUALITIES = attribute(XFRMA_IF_ID, bytes([7, 0, 0, 0])) + attribute(XFRMA_MARK, bytes([5, 0, 0, 0, 255, 0, 0, 0]))


@dataclass
class OneOfEach:
    """Knows two states and one policy."""

    def state_key(self, place: Place) -> StateKey | None:
        return {place_of(key.destination, key.spi): key for key in (KEY, KEY6, WARNED)}.get(place)

    def warns_first(self, place: Place) -> bool:
        return place.spi != WARNED.spi

    def policy_behind(self, spot: Spot) -> Policy | None:
        if spot not in (SPOT, MARKED):
            return None
        anywhere = Selector.parse("0.0.0.0/0")
        return Policy(Direction.OUT, anywhere, anywhere, "192.0.2.1", "192.0.2.2", 42)


def acquire(selector: bytes) -> bytes:
    policy = XfrmUserpolicyInfo(selector, XfrmLifetimeCfg().pack(), dir=XFRM_POLICY_OUT).pack()
    return XfrmUserAcquire(bytes(24), bytes(16), bytes(56), policy, 0, 0, 0, 5).pack()


def expire(key: StateKey, hard: int) -> bytes:
    place = place_of(key.destination, key.spi)
    info = XfrmUsersaInfo(
        bytes(56), XfrmId(place.daddr, key.spi).pack(), bytes(16), XfrmLifetimeCfg().pack(), family=place.family
    )
    return XfrmUserExpire(info.pack(), hard).pack()


def mapping(key: StateKey, address: str, port: int) -> bytes:
    place = place_of(key.destination, key.spi)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    new = socket.inet_pton(family, address).ljust(16, b"\0")
    ident = XfrmUsersaId(place.daddr, key.spi, place.family).pack()
    return XfrmUserMapping(ident, 1, bytes(16), new, 4500, port).pack()


@pytest.mark.parametrize(
    ("kind", "body", "event"),
    [
        (XFRM_MSG_ACQUIRE, acquire(SELECTOR), Acquire(42)),
        (XFRM_MSG_ACQUIRE, acquire(b"\2" * 56), None),
        (XFRM_MSG_ACQUIRE, acquire(SELECTOR) + QUALITIES, Acquire(42)),
        (XFRM_MSG_ACQUIRE, acquire(SELECTOR) + attribute(XFRMA_IF_ID, bytes([8, 0, 0, 0])), None),
        (XFRM_MSG_EXPIRE, expire(KEY, 0), Expire(KEY, hard=False)),
        (XFRM_MSG_EXPIRE, expire(KEY6, 1), Expire(KEY6, hard=True)),
        (XFRM_MSG_EXPIRE, expire(WARNED, 0), None),
        (XFRM_MSG_EXPIRE, expire(WARNED, 1), Expire(WARNED, hard=True)),
        (XFRM_MSG_EXPIRE, expire(StateKey("192.0.2.1", 5), 1), None),
        (XFRM_MSG_MAPPING, mapping(KEY, "203.0.113.9", 40001), Remapped(KEY, "203.0.113.9", 40001)),
        (XFRM_MSG_MAPPING, mapping(KEY6, "2001:db8::9", 40001), Remapped(KEY6, "2001:db8::9", 40001)),
        (XFRM_MSG_MAPPING, mapping(StateKey("192.0.2.9", 0xC1234567), "203.0.113.9", 1), None),
        (XFRM_MSG_NEWSA, b"", None),
    ],
)
def test_what_a_message_means(kind: int, body: bytes, event: PlaneEvent | None) -> None:
    assert read_event(kind, body, OneOfEach()) == event


@given(st.sampled_from([XFRM_MSG_ACQUIRE, XFRM_MSG_EXPIRE, XFRM_MSG_MAPPING]), st.binary(max_size=300))
def test_any_bytes_mean_something_or_nothing(kind: int, body: bytes) -> None:
    assert read_event(kind, body, OneOfEach()) is None


@given(st.binary(max_size=100))
def test_any_bytes_split_into_messages_that_lie_inside(data: bytes) -> None:
    for _, _, _, start, end in messages(data):
        assert 16 <= start <= end <= len(data)


@pytest.mark.requires("root")
async def test_only_the_kernel_is_believed() -> None:
    """Any process may send to a netlink socket's port; what does not come from port 0 is not the kernel's."""
    events = Events(OneOfEach())
    heard: list[PlaneEvent] = []
    events.listen(heard.append)
    port = events._socket.getsockname()[0]
    body = expire(KEY, 1)
    forged = nlmsghdr.pack(16 + len(body), XFRM_MSG_EXPIRE, 0, 0, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 6) as liar:
        liar.sendto(forged, (port, 0))
    await asyncio.sleep(0.05)
    events.close()
    assert heard == []


@pytest.mark.requires("root")
async def test_a_move_is_told_once_and_again_when_it_moves_on() -> None:
    events = Events(OneOfEach())
    moves = [Remapped(KEY, "203.0.113.9", 1), Remapped(KEY, "203.0.113.9", 1), Remapped(KEY, "203.0.113.9", 2)]
    assert [events._repeated(move) for move in moves] == [False, True, False]
    events.close()
