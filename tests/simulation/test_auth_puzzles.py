"""Puzzles in IKE_AUTH between two real ends (RFC 8019 7.2): B is under an attack of forged IKE_AUTH requests."""

from dataclasses import replace

import pytest

from gateway.ike.path import Path
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.standing import Shortfall
from gateway.policy.peers import Start
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build_sk_header, parse
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.agreement import assert_agree
from tests.simulation.network import IKE, Host, Network, Weather, peer, psk

ATTACKED = EngineSettings(cookie_threshold=0, puzzles=True)
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"


def forge(host: Host, network: Network) -> None:
    """So many half-open IKE SAs got what does not open that it is an attack."""
    for _ in range(100):
        host.engine.core.admission.forged(network.now)


def attacked(
    network: Network, *, settings: EngineSettings = ATTACKED, ike: tuple[Proposal, ...] = IKE, **more: object
) -> tuple[Host, Host]:
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    ends = {"mine": "10.2.0.0/24", "theirs": "10.1.0.0/24", "start": Start.PASSIVE}
    right = peer("left", me="right.example", them="left.example", remote=LEFT, **ends)  # type: ignore[arg-type]
    network.apply(b, Snapshot.build(1, [replace(right, proposals=ike, **more)], [psk()], settings))  # type: ignore[arg-type]
    forge(b, network)
    left = peer("right", me="left.example", them="right.example", remote=RIGHT)
    network.apply(a, Snapshot.build(1, [replace(left, proposals=ike, **more)], [psk()]))  # type: ignore[arg-type]
    return a, b


def sent(network: Network, source: str, exchange: ExchangeType) -> list[Message]:
    found = [parse(data) for _, sender, _, data in network.carried if sender == source]
    return [message for message in found if message.exchange == exchange]


def half_open(host: Host) -> IkeSa:
    (sa,) = host.engine.ike_sas()
    assert sa.state is Lifecycle.CONNECTING
    return sa


def test_no_keys_are_made_before_the_puzzle_is_solved() -> None:
    network = Network(1)
    a, b = attacked(network)
    while not sent(network, LEFT, ExchangeType.IKE_AUTH):
        network.run(0.01)
        if b.engine.ike_sas():
            assert half_open(b).keys is None
    # A <-- HDR, SAr1, KEr, Nr, N(PUZZLE)
    opening = sent(network, RIGHT, ExchangeType.IKE_SA_INIT)[-1]
    assert opening.maybe(wire.SA) and opening.notify(NotifyType.PUZZLE)
    # A --> HDR, PS, SK {IDi, …}
    request = sent(network, LEFT, ExchangeType.IKE_AUTH)[0]
    assert [type(one) for one in request.payloads] == [wire.PuzzleSolution, wire.SK]
    network.run(1)
    assert_agree(a, b)
    assert b.engine.core.counters["auth-puzzles-solved"] == 1
    assert not b.engine.core.extensions.deferred
    assert not a.engine.core.extensions.solutions
    assert "for IKE_AUTH" in str(a.engine.core.attempts.latest(1)[0].steps)


@pytest.mark.parametrize(
    ("settings", "ike"),
    [
        (replace(ATTACKED, puzzles=False), IKE),
        (EngineSettings(puzzles=True), IKE),  # nobody had to solve one in IKE_SA_INIT
        (ATTACKED, (Proposal.parse("aes256gcm16-prfsha256-mlkem768", Protocol.IKE),)),
        (ATTACKED, (Proposal.parse("aes256gcm16-prfsha256-x25519-ke1_mlkem768", Protocol.IKE),)),
    ],
    ids=["off", "calm", "kem", "intermediate"],
)
def test_where_there_is_none(settings: EngineSettings, ike: tuple[Proposal, ...]) -> None:
    network = Network(1)
    a, b = attacked(network, settings=settings, ike=ike)
    network.run(2)
    assert_agree(a, b)
    assert not b.engine.core.counters["auth-puzzles-sent"]


def test_a_fragmented_request_has_the_solution_in_its_first_fragment() -> None:
    network = Network(1)
    a, b = attacked(network, fragment_octets=200)
    network.run(2)
    assert_agree(a, b)
    fragments = [m for m in sent(network, LEFT, ExchangeType.IKE_AUTH) if isinstance(m.payloads[-1], wire.SKF)]
    assert len(fragments) > 1
    assert [len(one.payloads) for one in fragments] == [2] + [1] * (len(fragments) - 1)
    sizes = {
        len(data) for _, source, _, data in network.carried if source == LEFT and data[18] == ExchangeType.IKE_AUTH
    }
    assert max(sizes) <= 200 - 28


@pytest.mark.parametrize("seed", range(6))
def test_it_comes_to_stand_over_a_bad_network(seed: int) -> None:
    network = Network(seed, Weather(0.2, 0.2, 0.05, 0.3))
    a, b = attacked(network, fragment_octets=300)
    network.run(60)
    network.weather = Weather()
    forge(b, network)
    network.run(200)
    assert_agree(a, b)


@pytest.mark.parametrize("what", ["none", "wrong", "two", "empty"])
def test_a_request_without_the_solution_is_not_heard(what: str) -> None:
    network = Network(1)
    a, b = attacked(network)
    network.holding = True
    network.run(0.01)
    while not (asked := [one for one in network.held if one.is_about(ExchangeType.IKE_AUTH, response=False)]):
        network.deliver(network.held.pop(0))
    message = parse(asked[0].data)
    solution = message.payloads[0]
    assert isinstance(solution, wire.PuzzleSolution)
    outside: dict[str, list[wire.Payload]] = {
        "none": [],
        "wrong": [wire.PuzzleSolution(bytes(16))],
        "two": [solution, solution],
        "empty": [wire.PuzzleSolution(b"")],
    }
    sealed = message.payloads[-1]
    assert isinstance(sealed, wire.SK)
    message.payloads = list(outside[what])
    forged = bytes(build_sk_header(message, sealed.first, len(sealed.body))) + sealed.body
    before = len(network.held)
    network.perform(b, b.engine.receive(forged, Path(RIGHT, LEFT, 4500, marked=True), network.now))
    assert len(network.held) == before
    assert half_open(b).keys is None
    network.let_go()
    network.run(1)
    assert_agree(a, b)


def test_what_is_never_solved_is_forgotten() -> None:
    network = Network(1)
    a, b = attacked(network)
    network.holding = True
    network.run(0.01)
    while not [one for one in network.held if one.is_about(ExchangeType.IKE_AUTH, response=False)]:
        network.deliver(network.held.pop(0))
    assert b.engine.core.extensions.deferred
    network.held.clear()
    a.alive = False
    network.run(60)
    assert not b.engine.ike_sas()
    assert not b.engine.core.extensions.deferred


def test_forged_requests_bring_it_on() -> None:
    """What does not open, to a half-open IKE SA, is counted; an honest peer's own mistakes are far too few."""
    network = Network(2)
    _, b = attacked(network, settings=EngineSettings())
    network.run(200)
    assert not b.engine.core.admission.forgeries_abound(network.now)
    (sa,) = b.engine.ike_sas()
    sa.state = Lifecycle.CONNECTING
    header = Message(sa.spi_i, sa.spi_r, ExchangeType.IKE_AUTH, True, False, sa.responses.expected, [])
    datagram = bytes(build_sk_header(header, 35, 40)) + bytes(40)
    for _ in range(70):
        b.engine.receive(datagram, sa.path, network.now)
    assert b.engine.core.admission.forgeries_abound(network.now)


def test_why_the_keys_are_classical_is_known_though_they_were_made_later() -> None:
    network = Network(1)
    ways = "x25519-ke1_mlkem768", "x25519"
    ike = tuple(Proposal.parse(f"aes256gcm16-prfsha256-{one}", Protocol.IKE) for one in ways)
    a, b = attacked(network, ike=ike)
    left = replace(a.engine.core.snapshot.peers["right"], proposals=IKE)
    network.apply(a, Snapshot.build(2, [left], [psk()]))
    network.run(2)
    assert_agree(a, b)
    assert b.engine.core.counters["auth-puzzles-solved"] == 1
    (sa,) = b.engine.ike_sas()
    assert sa.shortfall is Shortfall.NOT_OFFERED_OLD
