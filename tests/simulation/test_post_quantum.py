"""Additional key exchanges between two gateways: IKE_INTERMEDIATE (RFC 9242, RFC 9370)."""

import pytest

from gateway.ike.attempts import Outcome
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Start
from gateway.policy.proposals import Proposal
from gateway.wire.message import parse_header
from gateway.wire.numbers import ExchangeType, Protocol
from tests.simulation.network import Host, Network, Weather, peer, two

HYBRID = "aes256gcm16-prfsha256-x25519-ke1_mlkem768"


def proposals(*texts: str) -> tuple[Proposal, ...]:
    return tuple(Proposal.parse(text, Protocol.IKE) for text in texts)


def pair(network: Network, ours: tuple[str, ...], theirs: tuple[str, ...], **more: object) -> tuple[Host, Host]:
    left = peer(
        "right", me="left.example", them="right.example", remote="192.0.2.2", proposals=proposals(*ours), **more
    )
    right = peer(
        "left",
        me="right.example",
        them="left.example",
        remote="192.0.2.1",
        mine="10.2.0.0/24",
        theirs="10.1.0.0/24",
        start=Start.PASSIVE,
        proposals=proposals(*theirs),
    )
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
    network.run(100)
    network.weather = Weather()
    network.run(120)
    assert up(left) == up(right) == HYBRID


def test_on_a_path_that_takes_small_datagrams_only() -> None:
    """The fragments get smaller while the keys change: a repeat is known under the keys that it was answered under."""
    network = Network(6)
    network.mtu = 700
    left, right = pair(network, (HYBRID,), (HYBRID,))
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
