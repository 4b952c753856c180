"""Nobody wants a child any more while it is being made: it does not come to stand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.ike.plane_events import Acquire
from gateway.ike.reasons import DISCONNECTED
from gateway.policy.peers import Peer, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import Observer
from gateway.service.status import TunnelState
from gateway.wire.numbers import ExchangeType, Protocol
from tests.simulation.network import Host, Network, peer, psk, two

MORE = "more"


def ends() -> tuple[Network, Host, Host, Peer]:
    """The right end takes two children more, of which the left end has none yet."""
    network = Network(5)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    base = {"me": "right.example", "them": "left.example", "mine": "10.2.0.0/24", "theirs": "10.1.0.0/24"}
    right = peer("left", remote="192.0.2.1", start=Start.PASSIVE, **base)  # type: ignore[arg-type]
    children = [right.children[0]]
    children += [replace(right.children[0], name=f"more{n}", local=nets(f"10.2.{n}.0/24")) for n in (7, 8)]
    a, b = two(network, left=left, right=replace(right, children=tuple(children)))
    network.run(1)
    return network, a, b, left


def nets(text: str) -> tuple[Selector, ...]:
    return (Selector.parse(text),)


def configure(network: Network, host: Host, base: Peer, remote: str | None) -> None:
    """With another child for these networks, or without it."""
    further = [replace(base.children[0], name=MORE, remote=nets(remote))] if remote else []
    children = (*base.children, *further)
    network.apply(host, Snapshot.build(2, [replace(base, children=children)], [psk()]))


def standing(host: Host) -> list[str]:
    """The networks of the other end."""
    children = [child for sa in host.engine.ike_sas() for child in sa.children.values()]
    return sorted(str(one) for child in children for one in child.remote)


BUSY: dict[str, Callable[[Network, Host], None]] = {
    "asked for": lambda network, host: None,
    "behind a rekey of another": lambda network, host: rekey(network, host, "net"),
    "behind a rekey of the IKE SA": lambda network, host: rekey(network, host, None),
}


def rekey(network: Network, host: Host, child: str | None) -> None:
    network.perform(host, host.engine.rekey("right", child, network.now)[1])


@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("how", ["removed", "taken down", "changed", "changed and changed back"])
def test_a_child_that_is_withdrawn_while_it_is_made_does_not_stand(busy: str, how: str) -> None:
    network, a, b, left = ends()
    BUSY[busy](network, a)
    configure(network, a, left, "10.2.7.0/24")
    network.run(0.005)
    match how:
        case "removed":
            configure(network, a, left, None)
        case "taken down":
            network.perform(a, a.engine.disconnect("right", MORE, network.now)[1])
        case "changed":
            configure(network, a, left, "10.2.8.0/24")
        case _:
            configure(network, a, left, "10.2.8.0/24")
            network.run(0.005)
            configure(network, a, left, "10.2.7.0/24")
    network.run(20)
    further = {"changed": ["10.2.8.0/24"], "changed and changed back": ["10.2.7.0/24"]}.get(how, [])
    assert standing(a) == ["10.2.0.0/24", *further]
    assert standing(b) == ["10.1.0.0/24"] * (1 + len(further))
    assert not a.plane.held


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.015, 0.025, 0.035])
def test_who_takes_the_only_child_down_during_the_call_finds_it_down(moment: float) -> None:
    network = Network(3)
    a, b = two(network)
    network.run(moment)
    network.perform(a, a.engine.disconnect("right", "net", network.now)[1])
    network.run(20)
    assert standing(a) == standing(b) == []
    assert not a.plane.held
    (status,) = Observer(a.engine, a.plane, lambda: network.now, lambda: 0.0).status((), ()).peers
    assert status.state is TunnelState.DOWN
    assert status.children[0].reason == DISCONNECTED
    network.perform(a, a.engine.connect("right", "net", network.now)[1])
    network.run(5)
    assert standing(a) == ["10.2.0.0/24"]


def test_what_is_taken_down_and_wanted_again_at_once_stands() -> None:
    network, a, _, left = ends()
    configure(network, a, left, "10.2.7.0/24")
    network.run(0.005)
    network.perform(a, a.engine.disconnect("right", MORE, network.now)[1])
    network.perform(a, a.engine.connect("right", MORE, network.now)[1])
    network.run(20)
    assert standing(a) == ["10.2.0.0/24", "10.2.7.0/24"]


def test_a_child_whose_key_exchanges_go_on_is_not_made_as_the_responder_had_it() -> None:
    """--> SA, Ni, KEi, TSi, TSr   <-- SA, Nr, KEr, N(ADDITIONAL_KEY_EXCHANGE)   it is removed   --> KEi(1)"""
    network = Network(5)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    base = {"me": "right.example", "them": "left.example", "mine": "10.2.0.0/24", "theirs": "10.1.0.0/24"}
    right = peer("left", remote="192.0.2.1", start=Start.PASSIVE, **base)  # type: ignore[arg-type]
    hybrid = (Proposal.parse("aes256gcm16-x25519-ke1_mlkem768", Protocol.ESP),)
    left, right = (replace(one, children=(replace(one.children[0], proposals=hybrid),)) for one in (left, right))
    further = replace(left.children[0], name=MORE, remote=nets("10.2.7.0/24"))
    theirs = replace(right.children[0], name=MORE, local=nets("10.2.7.0/24"))
    a, b = two(network, left=left, right=replace(right, children=(*right.children, theirs)))
    network.run(1)
    network.apply(a, Snapshot.build(2, [replace(left, children=(*left.children, further))], [psk()]))
    network.run(0.025)
    assert not standing(b)[1:]
    network.apply(b, Snapshot.build(2, [right], [psk()]))
    network.run(5)
    assert [data for _, _, _, data in network.carried if data[18] == ExchangeType.IKE_FOLLOWUP_KE]
    assert standing(b) == ["10.1.0.0/24"]
    assert not b.plane.held


@pytest.mark.parametrize("child", ["net", None])
def test_traffic_brings_nothing_up_that_an_administrator_took_down(child: str | None) -> None:
    network = Network(4)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", start=Start.ON_DEMAND)
    a, _ = two(network, left=left)
    network.run(1)
    for turn in range(2):
        (trap,) = a.protecting()
        network.perform(a, a.engine.kernel(Acquire(trap.reqid), network.now))
        network.run(1)
        assert standing(a) == ([] if turn else ["10.2.0.0/24"])
        network.perform(a, a.engine.disconnect("right", child, network.now)[1])
        network.run(1)
        (status,) = Observer(a.engine, a.plane, lambda: network.now, lambda: 0.0).status((), ()).peers
        assert (status.children[0].state, status.children[0].reason) == (TunnelState.DOWN, DISCONNECTED)
    network.perform(a, a.engine.connect("right", "net", network.now)[1])
    network.run(1)
    assert standing(a) == ["10.2.0.0/24"]
