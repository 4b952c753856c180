"""Two gateways with children of every kind, and what is asked of them."""

from dataclasses import replace
from typing import Any

from gateway.ike.attempts import Attempt
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Child, Peer, Shunt, Start
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from tests.simulation.network import ESP, Host, Network, peer, psk, two

LEFT, RIGHT, OUTSIDE = "192.0.2.1", "192.0.2.2", "203.0.113.9"
HERE, THERE = "10.1.0.0/24", "10.2.0.0/24"


def nets(*texts: str) -> tuple[Selector, ...]:
    return tuple(map(Selector.parse, texts))


def child(local: str, remote: str, name: str = "net", start: Start = Start.ALWAYS, **more: Any) -> Child:
    """A child of networks written with blanks between them."""
    return Child(name, nets(*local.split()), nets(*remote.split()), ESP, start, **more)


def left_peer(*children: Child, **more: Any) -> Peer:
    base = peer("right", me="left.example", them="right.example", remote=RIGHT)
    return replace(base, children=children, **more)


def right_peer(*children: Child, remote: str | None = LEFT, **more: Any) -> Peer:
    """The responder: its children wait."""
    base = peer("left", me="right.example", them="left.example", remote=remote)
    return replace(base, children=tuple(replace(one, start=Start.PASSIVE) for one in children), **more)


def up(network: Network, left: Peer, right: Peer, seconds: float = 1.0) -> tuple[Host, Host]:
    a, b = two(network, left=left, right=right)
    network.run(seconds)
    return a, b


def standing(host: Host) -> list[ChildSa]:
    """The CHILD_SAs of the one IKE SA that stands."""
    sas: list[IkeSa] = [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]
    assert len(sas) == 1
    return list(sas[0].children.values())


def texts(selectors: tuple[Selector, ...]) -> list[str]:
    return [selector.text for selector in selectors]


def failed(host: Host) -> Attempt:
    """The newest attempt, which failed."""
    attempt = host.engine.core.attempts.latest(1)[0]
    assert attempt.cause, attempt
    return attempt


def assert_nothing_of_esp(*hosts: Host) -> None:
    for host in hosts:
        assert not host.plane.states()
        assert not host.protecting()
        assert not host.plane.held


def configure(network: Network, host: Host, *peers: Peer, shunts: tuple[Shunt, ...] = ()) -> None:
    network.apply(host, Snapshot.build(network.random.getrandbits(30), peers, [psk()], shunts=shunts))
