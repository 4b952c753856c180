"""Post-quantum keys demanded of a peer: preferred, required, and required from a day on."""

from dataclasses import replace

import pytest

from gateway.ike import quantum
from gateway.ike.abilities import Ability
from gateway.ike.requiring import GRACE
from gateway.ike.standing import Standing
from gateway.policy.peers import Unique
from gateway.policy.ppks import Ppk
from gateway.policy.quantum import Demand, PostQuantum
from gateway.policy.snapshot import EngineSettings, Snapshot
from tests.simulation.network import UNIX_OFFSET, Host, Network, psk
from tests.simulation.test_post_quantum import HYBRID, pair, proposals, up

CLASSICAL = "aes256gcm16-prfsha256-x25519"
REQUIRED = PostQuantum(Demand.REQUIRE)
BOTH = (CLASSICAL, HYBRID)


def change(network: Network, host: Host, settings: EngineSettings | None = None, **more: object) -> None:
    """Another configuration of the host's one peer, or of the whole."""
    now = host.engine.core.snapshot
    changed = [replace(peer, **more) for peer in now.peers.values()]  # type: ignore[arg-type]
    made = Snapshot.build(now.revision + 1, changed, now.psks, settings or now.settings, ppks=now.ppks.values())
    network.apply(host, made)


def standing(host: Host) -> Standing | None:
    sas = [sa for sa in host.engine.ike_sas() if sa.established is not None and sa.children]
    return quantum.standing(sas[-1]) if sas else None


@pytest.mark.parametrize(("demand", "algorithms"), [(Demand.OFF, CLASSICAL), (Demand.PREFER, HYBRID)])
def test_what_is_preferred_goes_first_whatever_the_order(demand: Demand, algorithms: str) -> None:
    network = Network(1)
    left, right = pair(network, BOTH, BOTH)
    for host in (left, right):
        change(network, host, post_quantum=PostQuantum(Demand.OFF))
    change(network, right, post_quantum=PostQuantum(demand))
    for action in (left.engine.disconnect, left.engine.connect):
        network.perform(left, action("right", None, network.now)[1])
        network.run(3)
    assert up(left) == up(right) == algorithms
    assert "post-quantum.missed" not in right.kinds()


def test_who_falls_back_is_told_with_the_reason() -> None:
    network = Network(2)
    left, right = pair(network, (HYBRID, CLASSICAL), (CLASSICAL,))
    network.run(2)
    assert standing(left) is standing(right) is Standing.CLASSICAL
    (ours,), (theirs,) = left.engine.ike_sas(), right.engine.ike_sas()
    assert quantum.why_classical(ours).startswith("we offered ML-KEM, and the peer chose a suite without and says")
    assert quantum.why_classical(theirs) == "our proposals for it have no ML-KEM"
    told = next(event for event in left.events if event.kind == "post-quantum.missed")
    assert told.text == f"the keys with right are classical: {quantum.why_classical(ours)}"


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ((CLASSICAL,), "the peer offered no ML-KEM, nor IKE_INTERMEDIATE (RFC 9242): it is too old for"),
        (("aes256gcm16-prfsha256-x25519-ke1_ecp256", CLASSICAL), "the peer offered no ML-KEM"),
        (("aes256gcm16-prfsha256-x25519-ke1_mlkem1024", CLASSICAL), "the peer offered ML-KEM, in no suite that we acc"),
    ],
)
def test_a_responder_knows_why_it_is_classical(theirs: tuple[str, ...], why: str) -> None:
    network = Network(3)
    _, right = pair(network, theirs, (HYBRID, CLASSICAL))
    network.run(2)
    (sa,) = right.engine.ike_sas()
    assert quantum.standing(sa) is Standing.CLASSICAL
    assert quantum.why_classical(sa).startswith(why)


def test_a_peer_without_is_refused_by_the_responder_and_told_why() -> None:
    network = Network(4)
    left, right = pair(network, (CLASSICAL,), (HYBRID, CLASSICAL))
    change(network, right, post_quantum=REQUIRED)
    network.run(30)
    assert up(left) is up(right) is None
    attempt = right.engine.core.attempts.latest(1)[0]
    assert attempt.cause == "post-quantum"
    assert attempt.reason == "ML-KEM is required for left, and the peer offers none (NO_PROPOSAL_CHOSEN)"
    assert attempt.acceptable == (HYBRID,)


def test_a_caller_that_requires_it_offers_nothing_else() -> None:
    network = Network(5)
    optional = f"{HYBRID}-ke1_none"
    left, right = pair(network, (CLASSICAL, optional), (CLASSICAL,), post_quantum=REQUIRED)
    network.run(30)
    assert up(left) is up(right) is None
    attempt = left.engine.core.attempts.latest(99)[-1]
    assert attempt.offered == (HYBRID,)
    assert attempt.reason.endswith("ML-KEM is required for it, so that we offered nothing without")
    change(network, right, proposals=proposals(optional))
    network.run(60)
    assert up(left) == up(right) == HYBRID


def test_a_requirement_without_means_is_said_before_a_call() -> None:
    network = Network(6)
    left, _ = pair(network, (CLASSICAL,), (CLASSICAL,), post_quantum=REQUIRED)
    network.run(2)
    attempt = left.engine.core.attempts.latest(99)[-1]
    assert attempt.cause == "post-quantum"
    assert attempt.reason == "ML-KEM or a PPK is required for right, and our proposals for it have none"
    assert not network.carried


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("demanding", ["left", "right"])
def test_a_ppk_does_instead(demanding: str, known: bool) -> None:
    network = Network(7)
    left, right = pair(network, (CLASSICAL,), (CLASSICAL,))
    key = Ppk("key", "2026", b"k" * 32)
    for host in (left, right) if known else (left,) if demanding == "left" else (right,):
        now = host.engine.core.snapshot
        peers = [replace(peer, ppks=("key",)) for peer in now.peers.values()]
        network.apply(host, Snapshot.build(2, peers, now.psks, ppks=[key]))
    change(network, left if demanding == "left" else right, post_quantum=REQUIRED)
    network.run(60)
    if known:
        assert standing(left) is standing(right) is Standing.PPK
        return
    assert standing(left) is standing(right) is None
    host = left if demanding == "left" else right
    attempt = next(one for one in host.engine.core.attempts.latest(99) if one.cause == "post-quantum")
    assert "its keys are classical" in attempt.reason
    assert attempt.reason.endswith("nor does it use PPKs (RFC 8784, RFC 9867)")


def date(network: Network, seconds: float) -> PostQuantum:
    return PostQuantum(Demand.REQUIRE, UNIX_OFFSET + network.now + seconds)


@pytest.mark.parametrize("who", ["left", "right"])
@pytest.mark.parametrize("for_all", [True, False])
def test_on_the_day_what_can_is_made_anew_without_a_gap(who: str, for_all: bool) -> None:
    """It stands classical because the other end was taught ML-KEM only later."""
    network = Network(8)
    left, right = pair(network, (HYBRID, CLASSICAL), (CLASSICAL,))
    network.run(2)
    assert standing(left) is Standing.CLASSICAL
    host = left if who == "left" else right
    demand = date(network, 1000)
    if for_all:
        change(network, host, EngineSettings(post_quantum=demand))
    else:
        change(network, host, post_quantum=demand)
    (config,) = right.engine.core.snapshot.peers.values()
    taught = replace(config, proposals=proposals(HYBRID, CLASSICAL))
    for sa in right.engine.ike_sas():  # as if its own configuration had been so all along
        sa.peer = taught
    object.__setattr__(
        right.engine.core, "snapshot", Snapshot.build(9, [taught], [psk()], right.engine.core.snapshot.settings)
    )
    network.run(900)
    assert standing(left) is Standing.CLASSICAL
    down = left.kinds().count("child-sa.down")
    network.run(200)
    assert up(left) == up(right) == HYBRID
    assert left.kinds().count("child-sa.down") == down
    assert len(left.engine.ike_sas()) == len(right.engine.ike_sas()) == 1


def test_a_clock_that_is_set_beyond_the_day_brings_it() -> None:
    network = Network(10)
    left, right = pair(network, (HYBRID, CLASSICAL), (CLASSICAL,))
    network.run(2)
    change(network, left, post_quantum=date(network, 100_000))
    network.run(200)
    assert standing(left) is Standing.CLASSICAL
    network.perform(left, left.engine.clock_set(UNIX_OFFSET + 100_000, network.now))
    network.run(200)
    assert standing(left) is standing(right) is None


@pytest.mark.parametrize("who", ["left", "right"])
def test_on_the_day_what_stays_classical_ends(who: str) -> None:
    network = Network(9)
    left, right = pair(
        network,
        (HYBRID, CLASSICAL) if who == "left" else (CLASSICAL,),
        (HYBRID, CLASSICAL) if who == "right" else (CLASSICAL,),
    )
    network.run(2)
    host = left if who == "left" else right
    change(network, host, post_quantum=date(network, 500))
    network.run(490)
    assert standing(left) is standing(right) is Standing.CLASSICAL
    network.run(12)
    assert standing(host) is Standing.CLASSICAL, "it may still be made anew"
    network.run(GRACE + 30)
    assert standing(left) is standing(right) is None
    closed = [event.text for event in host.events if event.kind == "ike-sa.closed"]
    assert any("its keys are classical, and ML-KEM or a PPK is required" in text for text in closed)
    assert not host.protecting()
    change(network, host, post_quantum=PostQuantum(Demand.PREFER))
    network.run(600)
    assert standing(left) is standing(right) is Standing.CLASSICAL


def test_a_rekey_does_not_get_past_the_day() -> None:
    network = Network(10)
    left, _ = pair(network, (HYBRID, CLASSICAL), (CLASSICAL,), unique=Unique.KEEP)
    network.run(2)
    change(network, left, post_quantum=date(network, 100))
    network.run(110)
    assert standing(left) is Standing.CLASSICAL
    network.perform(left, left.engine.rekey("right", None, network.now)[1])
    network.run(5)
    assert any(event.kind == "exchange.failed" for event in left.events)
    network.run(GRACE)
    assert standing(left) is None


def test_a_hybrid_tunnel_hears_nothing_of_the_day() -> None:
    network = Network(11)
    left, right = pair(network, (HYBRID, CLASSICAL), (HYBRID, CLASSICAL))
    network.run(2)
    (before,) = left.engine.ike_sas()
    change(network, left, post_quantum=date(network, 100))
    change(network, right, EngineSettings(post_quantum=date(network, 100)))
    network.run(300)
    assert left.engine.ike_sas() == [before]


def test_no_rekey_is_begun_for_which_there_are_no_means() -> None:
    network = Network(12)
    left, _ = pair(network, (CLASSICAL,), (CLASSICAL,), unique=Unique.KEEP)
    network.run(2)
    change(network, left, post_quantum=REQUIRED)
    network.run(1)
    network.perform(left, left.engine.rekey("right", None, network.now)[1])
    failed = next(event.text for event in left.events if event.kind == "exchange.failed")
    assert "ML-KEM is required for right, and our proposals for a rekey of the IKE SA have none" in failed
    network.run(GRACE + 10)
    assert standing(left) is None


@pytest.mark.parametrize("demanding", ["left", "right"])
def test_what_was_classical_does_not_come_back_by_its_ticket(demanding: str) -> None:
    """The ticket is not shown, or not taken, and a call with ML-KEM follows at once."""
    network = Network(13)
    left, right = pair(network, (CLASSICAL, HYBRID), (CLASSICAL, HYBRID))
    off = PostQuantum(Demand.OFF)
    for host in (right, left):
        change(network, host, post_quantum=off, resumption=True)
    for action in (left.engine.disconnect, left.engine.connect):
        network.perform(left, action("right", None, network.now)[1])
        network.run(3)
    assert up(left) == CLASSICAL
    for host in (left, right):
        (config,) = host.engine.core.snapshot.peers.values()
        taught = Snapshot.build(5, [replace(config, post_quantum=REQUIRED if host.name == demanding else off)], [psk()])
        if host is left:  # as if that had been so all along
            object.__setattr__(left.engine.core, "snapshot", taught)
            for sa in left.engine.ike_sas():
                sa.peer = taught.peers["right"]
        else:
            network.reboot(right, taught)
    network.run(60)
    assert up(left) == up(right) == HYBRID
    causes = [one.cause for host in (left, right) for one in host.engine.core.attempts.latest(99)]
    assert not {"post-quantum", "peer-refused-us"}.intersection(causes)
    assert left.engine.core.counters["resumption-failed"] == (demanding == "right")


def test_who_came_back_by_a_ticket_says_why_it_is_classical() -> None:
    network = Network(14)
    left, right = pair(network, (HYBRID, CLASSICAL), (CLASSICAL,), resumption=True)
    change(network, right, resumption=True)
    network.perform(left, left.engine.disconnect("right", None, network.now)[1])
    network.run(3)
    network.perform(left, left.engine.connect("right", None, network.now)[1])
    network.run(3)
    why = quantum.why_classical(left.engine.ike_sas()[0])
    assert why.startswith("we offered ML-KEM, and the peer chose")
    (config,) = right.engine.core.snapshot.peers.values()
    network.reboot(right, Snapshot.build(5, [config], [psk()]))
    network.run(60)
    (ours,), (theirs,) = left.engine.ike_sas(), right.engine.ike_sas()
    assert Ability.RESUMED in ours.abilities
    assert quantum.why_classical(ours) == why
    theirs.peer = replace(config, proposals=proposals(HYBRID, CLASSICAL))
    assert quantum.why_classical(theirs) == "it came back by the ticket of an IKE SA whose keys were classical"
