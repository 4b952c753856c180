"""Additional key exchanges between two gateways: IKE_INTERMEDIATE (RFC 9242, RFC 9370)."""

from dataclasses import replace

import pytest

from gateway.ike.attempts import Outcome
from gateway.ike.lifecycle import stop_following
from gateway.ike.sa import Lifecycle
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import parse_header
from gateway.wire.numbers import ExchangeType, Protocol
from tests.simulation.network import Host, Network, Weather, peer, right_end, two

HYBRID = "aes256gcm16-prfsha256-x25519-ke1_mlkem768"


def proposals(*texts: str) -> tuple[Proposal, ...]:
    return tuple(Proposal.parse(text, Protocol.IKE) for text in texts)


def pair(network: Network, ours: tuple[str, ...], theirs: tuple[str, ...], **more: object) -> tuple[Host, Host]:
    left = peer(
        "right", me="left.example", them="right.example", remote="192.0.2.2", proposals=proposals(*ours), **more
    )
    right = right_end(proposals=proposals(*theirs))
    return two(network, left=left, right=right)


def up(host: Host) -> str | None:
    """The algorithms of the one established IKE SA."""
    sas = [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]
    return sas[0].chosen.keywords if len(sas) == 1 and sas[0].chosen and sas[0].children else None


def exchanges(network: Network) -> list[int]:
    return [parse_header(data).exchange for _, _, _, data in network.carried if len(data) >= 28]


def test_hybrid_with_ml_kem() -> None:
    network = Network(1)
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(1)  # a change in the middle of the call would end it
    network.run(2)
    assert up(left) == up(right) == HYBRID
    assert ExchangeType.IKE_INTERMEDIATE in exchanges(network)
    mine, theirs = left.engine.ike_sas()[0], right.engine.ike_sas()[0]
    assert mine.keys is not None and theirs.keys is not None and mine.keys.d == theirs.keys.d
    assert mine.intermediate is theirs.intermediate is None


def test_three_additional_key_exchanges() -> None:
    text = "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024-ke3_x25519-ke7_mlkem768"
    network = Network(2)
    left, right = pair(network, (text,), (text,))
    network.run(2)
    assert up(left) == up(right) == text
    requests = exchanges(network).count(ExchangeType.IKE_INTERMEDIATE)
    assert requests >= 6  # three exchanges, each message in one or more fragments


def test_a_kem_alone() -> None:
    text = "aes256gcm16-prfsha256-mlkem768"
    network = Network(3)
    left, right = pair(network, (text,), (text,), fragment_octets=0)
    network.run(2)
    assert up(left) == up(right) == text


@pytest.mark.parametrize("seed", range(12))
def test_through_bad_weather(seed: int) -> None:
    network = Network(seed, Weather(loss=0.25, duplicate=0.3, delay=0.02, jitter=0.5))
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(1)  # a change in the middle of the call would end it
    network.run(100)
    network.weather = Weather()
    network.run(120)
    assert up(left) == up(right) == HYBRID


def test_on_a_path_that_takes_small_datagrams_only() -> None:
    """The fragments get smaller while the keys change: a repeat is known under the keys that it was answered under."""
    network = Network(6)
    network.mtu = 700
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(1)  # a change in the middle of the call would end it
    network.run(30)
    assert up(left) == up(right) == HYBRID
    assert right.engine.core.counters["dropped: integrity check failed"] == 0


def test_a_peer_without_it_is_met_where_that_is_allowed() -> None:
    network = Network(4)
    left, right = pair(network, (HYBRID + "-ke1_none",), ("aes256gcm16-prfsha256-x25519",))
    network.run(2)
    assert up(left) == up(right) == "aes256gcm16-prfsha256-x25519"
    assert ExchangeType.IKE_INTERMEDIATE not in exchanges(network)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(HYBRID, "aes256gcm16-prfsha256-x25519"), ("aes256gcm16-prfsha256-x25519", HYBRID)]
)
def test_a_peer_without_it_is_refused_where_it_is_required(ours: str, theirs: str) -> None:
    network = Network(5)
    left, right = pair(network, (ours,), (theirs,))
    network.run(2)
    assert up(left) is up(right) is None
    attempt = right.engine.core.attempts.latest(1)[0]
    assert attempt.outcome == Outcome.FAILED and attempt.cause == "no-proposal"
    assert "additional key exchanges" in attempt.differences[0]


ESP_HYBRID = "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp256"


def hybrid_pair(network: Network) -> tuple[Host, Host]:
    """Both the IKE SA and its child agree on several key exchanges, and rekey with them."""
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(1)  # a change in the middle of the call would end it
    esp = (Proposal.parse(ESP_HYBRID, Protocol.ESP),)
    for host in (left, right):
        (config,) = host.engine.core.snapshot.peers.values()
        changed = replace(config, children=tuple(replace(child, proposals=esp) for child in config.children))
        network.apply(host, Snapshot.build(2, [changed], host.engine.core.snapshot.psks))
    network.run(3)
    assert up(left) == up(right) == HYBRID
    return left, right


def rekey(network: Network, host: Host, child: str | None) -> None:
    (name,) = host.engine.core.snapshot.peers
    _, effects = host.engine.rekey(name, child, network.now)
    network.perform(host, effects)


def keys_agree(left: Host, right: Host) -> bool:
    """One live child at each end, with the same keys."""
    mine, theirs = (
        [child for sa in host.engine.ike_sas() for child in sa.children.values() if not child.gone]
        for host in (left, right)
    )
    return (
        len(mine) == len(theirs) == 1
        and mine[0].inbound.encr_key == theirs[0].outbound.encr_key
        and mine[0].outbound.encr_key == theirs[0].inbound.encr_key
    )


@pytest.mark.parametrize("who", ["left", "right"])
def test_a_child_is_rekeyed_by_several_key_exchanges(who: str) -> None:
    network = Network(10)
    left, right = hybrid_pair(network)
    rekey(network, left if who == "left" else right, "net")
    network.run(10)
    assert keys_agree(left, right)
    (child,) = left.engine.ike_sas()[0].children.values()
    assert (child.rekeys, child.chosen.keywords) == (1, ESP_HYBRID)
    assert exchanges(network).count(ExchangeType.IKE_FOLLOWUP_KE) >= 4
    assert left.plane.held == right.plane.held == frozenset()


@pytest.mark.parametrize("who", ["left", "right"])
def test_an_ike_sa_is_rekeyed_by_several_key_exchanges(who: str) -> None:
    network = Network(11)
    left, right = hybrid_pair(network)
    before = left.engine.ike_sas()[0].id
    rekey(network, left if who == "left" else right, None)
    network.run(10)
    assert up(left) == up(right) == HYBRID
    assert keys_agree(left, right)
    (mine,), (theirs,) = left.engine.ike_sas(), right.engine.ike_sas()
    assert mine.id != before
    assert mine.keys is not None and theirs.keys is not None and mine.keys.d == theirs.keys.d


@pytest.mark.parametrize("child", ["net", None])
@pytest.mark.parametrize("seed", range(6))
def test_both_rekey_at_once_with_several_key_exchanges(seed: int, child: str | None) -> None:
    network = Network(seed)
    left, right = hybrid_pair(network)
    network.weather = Weather(loss=0.1, delay=0.05, jitter=0.1)
    rekey(network, left, child)
    rekey(network, right, child)
    network.run(60)
    network.weather = Weather()
    network.run(60)
    assert up(left) == up(right) == HYBRID
    assert keys_agree(left, right)
    assert left.plane.held == right.plane.held == frozenset()


def test_a_peer_that_does_not_go_on_is_forgotten() -> None:
    network = Network(12)
    left, right = hybrid_pair(network)
    rekey(network, left, "net")
    until_exchange(network, ExchangeType.CREATE_CHILD_SA, response=True)
    left.alive = False
    network.run(1)
    assert right.engine.core.extensions.following and right.plane.held
    network.run(21)
    assert not right.engine.core.extensions.following and not right.plane.held


def until_exchange(network: Network, exchange: int, *, response: bool) -> None:
    """Let time pass until such a message has been sent."""
    seen = len(network.carried)
    for _ in range(1000):
        network.run(0.005)
        for _, _, _, data in network.carried[seen:]:
            header = parse_header(data)
            if header.exchange == exchange and header.response is response:
                return
    raise AssertionError("no such message")


def test_a_follow_up_to_nothing_is_told_so() -> None:
    network = Network(13)
    left, right = hybrid_pair(network)
    rekey(network, left, "net")
    until_exchange(network, ExchangeType.CREATE_CHILD_SA, response=True)
    (sa,) = right.engine.ike_sas()
    stop_following(right.engine.core, sa)
    network.run(2)
    failed = next(event for event in left.events if event.kind == "exchange.failed")
    assert "STATE_NOT_FOUND" in failed.text
    network.run(60)
    assert keys_agree(left, right), "it is tried again, and the old one lived meanwhile"
