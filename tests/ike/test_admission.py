"""Floods: what strangers can make us do, keep and send."""

import gc
import ipaddress
import os
import random
from pathlib import Path as File

import pytest

from gateway.crypto import suites
from gateway.ike.admission import Admission, Blocked, Budget, cost_of, source_of
from gateway.ike.engine import Engine
from gateway.ike.path import Path
from gateway.policy.peers import Start
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from gateway.wire.outcome import Drop
from tests.ike.strangers import (
    HERE,
    answering,
    anybody,
    ask,
    cookie_of,
    init_payloads,
    init_request,
    sent,
    with_cookie,
)
from tests.simulation.network import Network, peer, psk, two


def address(number: int) -> str:
    return f"{11 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def resident() -> int:
    """Octets of memory that this process occupies."""
    gc.collect()
    return int(File("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def half_open(engine: Engine) -> int:
    return engine.core.admission.half_open_total


def test_a_flood_from_a_hundred_thousand_forged_addresses_leaves_nothing() -> None:
    engine = answering()
    template = build(init_request())
    octets = 0
    for number in range(100_000):
        if number == 20_000:
            before = resident()
        path = Path(HERE, address(number))
        for data in sent(engine.receive(number.to_bytes(8) + template[8:] if number else template, path, number / 1e5)):
            octets += len(data)
    core = engine.core
    assert half_open(engine) == len(engine.ike_sas()) == core.snapshot.settings.cookie_threshold
    assert core.counters["cookies-sent"] == 100_000 - core.snapshot.settings.cookie_threshold
    assert len(core.counters) < 10
    assert len(core.attempts.latest(10**6)) <= 64
    assert len(core.openings) == 64
    assert octets < 100_000 * len(template)
    assert resident() - before < 4 * 1024 * 1024  # an SA for each would be a thousand
    engine.tick(100.0)
    assert half_open(engine) == 0
    assert not core.openings


def test_a_flood_of_refused_requests_leaves_nothing() -> None:
    engine = answering(config=anybody(proposals=(Proposal.parse("aes128-sha256-modp2048", Protocol.IKE),)))
    template = build(init_request())
    for number in range(1, 5000):
        engine.receive(number.to_bytes(8) + template[8:], Path(HERE, address(number)), 1.0)
    assert engine.core.counters["init-refused"] == 4999
    assert not engine.ike_sas()
    assert len(engine.core.attempts.latest(10**6)) <= 20


def test_a_tunnel_comes_up_in_the_middle_of_a_flood() -> None:
    network = Network(1)
    a, b = two(network, right=peer("left", me="right.example", them="left.example", remote=None, start=Start.PASSIVE))
    template = build(init_request())
    for number in range(1, 500):
        network.perform(
            b, b.engine.receive(number.to_bytes(8) + template[8:], Path(HERE, address(number)), network.now)
        )
    network.run(2)
    assert b.engine.core.established("left")
    assert b.engine.core.counters["cookies-sent"] >= 1
    assert a.engine.core.established("right")


def test_a_true_address_that_never_goes_on_runs_dry() -> None:
    """It brings its cookie each time, and lets each half-open SA time out: its budget is spent, others' is not."""
    engine = answering(EngineSettings(cookie_threshold=0, half_open_timeout=0.001, half_open_per_source=1000))
    served = 0
    for number in range(1, 400):
        now = number / 1000
        engine.tick(now)
        request = init_request(number.to_bytes(8))
        cookie = cookie_of(ask(engine, request, now=now))
        served += bool(ask(engine, with_cookie(request, cookie), now=now))
    assert 128 <= served <= 140
    assert engine.core.counters["dropped: this source has spent its budget of work"] == 399 - served
    request = init_request(b"innocent")
    cookie = cookie_of(ask(engine, request, "198.51.101.2", now=0.5))
    assert ask(engine, with_cookie(request, cookie), "198.51.101.2", now=0.5)
    # and in time it may come again
    request = init_request(b"reformed")
    cookie = cookie_of(ask(engine, request, now=60.0))
    assert ask(engine, with_cookie(request, cookie), now=60.0)


def test_who_proves_himself_has_his_work_given_back() -> None:
    network = Network(1)
    a, b = two(network)
    for _ in range(300):
        network.perform(a, a.engine.connect("right", None, network.now)[1])
        network.run(0.2)
        assert b.engine.core.established("left")
        network.perform(a, a.engine.disconnect("right", None, network.now)[1])
        network.run(0.2)
    assert b.engine.core.counters["cookies-sent"] == 0


def test_half_open_sas_are_counted_by_source_and_given_up() -> None:
    engine = answering(EngineSettings(half_open_per_source=4, half_open_timeout=10.0))
    for number in range(1, 5):
        assert ask(engine, init_request(number.to_bytes(8)))[0].spi_r != bytes(8)
    request = init_request(b"number 5")
    cookie = cookie_of(ask(engine, request))
    assert ask(engine, with_cookie(request, cookie)) == []
    assert ask(engine, request, "198.51.100.2")[0].spi_r != bytes(8)
    engine.tick(11.0)
    assert half_open(engine) == 0
    assert ask(engine, request, now=11.0)[0].spi_r != bytes(8)


def test_an_ipv6_network_is_one_source() -> None:
    engine = answering(EngineSettings(half_open_per_source=4))
    here = "2001:db8:ffff::1"
    for number in range(1, 5):
        engine.receive(build(init_request(number.to_bytes(8))), Path(here, f"2001:db8::{number}"), 0.0)
    (answer,) = sent(engine.receive(build(init_request(b"number 5")), Path(here, "2001:db8::5"), 0.0))
    assert parse(answer).notify(NotifyType.COOKIE)
    (answer,) = sent(engine.receive(build(init_request(b"number 6")), Path(here, "2001:db8:0:1::5"), 0.0))
    assert not parse(answer).notify(NotifyType.COOKIE)
    assert source_of("2001:db8::1") == source_of("2001:db8:0:0:ffff::1") != source_of("2001:db8:0:1::1")
    assert source_of("192.0.2.1") != source_of("192.0.2.2")


def test_no_room_is_no_answer() -> None:
    engine = answering(EngineSettings(half_open_limit=2))
    for number in range(1, 4):
        answers = ask(engine, init_request(number.to_bytes(8)), address(number))
        assert bool(answers) is (number < 3)
    assert engine.core.counters["dropped: too many half-open IKE SAs"] == 1


@pytest.mark.parametrize(
    ("payloads", "answered"),
    [
        ([], False),  # nothing at all: an error would be longer
        ([wire.Nonce(b"n")], False),
        ([wire.Nonce(b"n" * 32)], True),
        (init_payloads(), True),
    ],
)
def test_an_error_is_never_longer_than_what_it_answers(payloads: list[wire.Payload], answered: bool) -> None:
    engine = answering(config=anybody(proposals=(Proposal.parse("aes128-sha256-modp2048", Protocol.IKE),)))
    request = build(init_request(payloads=payloads))
    answers = sent(engine.receive(request, Path(HERE, "198.51.100.1"), 0.0))
    assert bool(answers) is answered
    assert all(len(answer) <= len(request) for answer in answers)


def test_a_longer_answer_needs_a_cookie() -> None:
    """A short request for a group whose answer is long: the sender proves its address first."""
    modp = (Proposal.parse("aes256gcm16-prfsha256-modp8192", Protocol.IKE),)
    engine = answering(config=anybody(proposals=modp))
    short = init_payloads(proposals=modp)
    ke = short[1]
    assert isinstance(ke, wire.KE)
    ke.data = ke.data[:64]
    answers = ask(engine, init_request(payloads=short))
    cookie = cookie_of(answers)
    (answer,) = ask(engine, with_cookie(init_request(payloads=short), cookie))
    assert answer.notify(NotifyType.INVALID_SYNTAX)
    assert not engine.ike_sas()


@pytest.mark.parametrize("group", ["x25519", "ecp256", "ecp521", "modp2048", "modp3072", "mlkem768"])
def test_a_whole_request_needs_none(group: str) -> None:
    proposals = (Proposal.parse(f"aes256gcm16-prfsha256-{group}", Protocol.IKE),)
    engine = answering(config=anybody(proposals=proposals))
    request = build(init_request(payloads=init_payloads(proposals=proposals)))
    (answer,) = sent(engine.receive(request, Path(HERE, "198.51.100.1"), 0.0))
    assert parse(answer).spi_r != bytes(8)
    assert len(answer) <= 1.5 * len(request)


def test_a_forged_sender_gets_less_than_he_sends_whatever_he_repeats() -> None:
    engine = answering()
    request = build(init_request())
    octets = sum(
        len(data) for _ in range(50) for data in sent(engine.receive(request, Path(HERE, "198.51.100.1"), 0.0))
    )
    assert octets <= 1.5 * 50 * len(request)
    assert len(engine.ike_sas()) == 1


def test_blocked_networks_are_not_heard() -> None:
    engine = answering(blocked=["198.51.100.0/24", "203.0.113.7", "2001:db8:bad::/48"])
    for remote in ("198.51.100.0", "198.51.100.255", "203.0.113.7"):
        assert ask(engine, init_request(), remote) == []
    assert engine.receive(b"nonsense", Path("2001:db8::2", "2001:db8:bad:1::1"), 0.0) == []
    assert engine.core.counters == {"dropped: blocked source": 4}
    for remote in ("198.51.101.0", "203.0.113.6"):
        assert ask(engine, init_request(), remote)


def test_a_block_comes_and_goes_with_the_configuration() -> None:
    network = Network(1)
    a, b = two(network)
    network.run(1)
    config = b.engine.core.snapshot
    network.apply(b, Snapshot.build(2, config.peers.values(), config.psks, blocked=[a.address]))
    assert b.engine.core.established("left")
    network.run(200)
    assert not a.engine.core.established("right")
    assert b.engine.core.counters["dropped: blocked source"] > 5
    network.apply(b, Snapshot.build(3, config.peers.values(), config.psks))
    network.run(700)
    assert a.engine.core.established("right")


def test_the_block_list_agrees_with_the_networks() -> None:
    chance = random.Random(3)
    networks = [f"{address(chance.getrandbits(26))}/{chance.randrange(8, 33)}" for _ in range(300)]
    blocked, parsed = Blocked(networks), [ipaddress.ip_network(one, strict=False) for one in networks]
    for _ in range(3000):
        one = address(chance.getrandbits(26))
        assert (one in blocked) is any(ipaddress.ip_address(one) in network for network in parsed)
    assert "::1" not in blocked
    assert "192.0.2.1" not in Blocked()


def test_verdicts_about_many_senders_do_not_pile_up() -> None:
    blocked = Blocked(["198.51.100.0/24"])
    for number in range(20_000):
        assert address(number) not in blocked
    assert len(blocked._verdicts) <= 4096


def test_a_budget_holds_refills_and_forgets() -> None:
    budget = Budget(4.0, 1.0, kept=3)
    for _ in range(4):
        budget.take("a", 1.0, 0.0)
    assert budget.left("a", 0.0) == 0.0
    assert budget.left("a", 2.0) == 2.0
    assert budget.left("a", 100.0) == 4.0
    budget.take("a", 9.0, 100.0)
    assert budget.left("a", 100.0) == 0.0
    budget.give("a", 1.0, 100.0)
    assert budget.left("a", 100.0) == 1.0
    for key in "bcd":
        budget.take(key, 1.0, 100.0)
    assert len(budget) == 3
    assert budget.left("a", 100.0) == 4.0


def test_dear_groups_cost_more() -> None:
    methods = [suites.by_keyword(name) for name in ("x25519", "mlkem1024", "modp2048", "modp3072", "modp8192")]
    costs = [cost_of(method) for method in methods if isinstance(method, suites.KeyExchangeMethod)]
    assert costs == [1.0, 1.0, 1.0, 3.375, 16.0]


def test_too_many_kinds_of_counters_are_counted_together() -> None:
    engine = answering()
    for number in range(1000):
        engine.core.count(f"kind {number}")
    assert len(engine.core.counters) == 257
    assert engine.core.counters["other"] == 744


def test_no_room_raises_before_anything_is_computed() -> None:
    admission = Admission()
    for number in range(3):
        admission.opened(address(number))
    with pytest.raises(Drop):
        admission.under_pressure("192.0.2.1", 0.0, EngineSettings(half_open_limit=3))
    for number in range(3):
        admission.settled(address(number))
    assert not admission.under_pressure("192.0.2.1", 0.0, EngineSettings(half_open_limit=3))
    assert admission.half_open(address(1)) == 0


def test_garbage_is_counted_under_few_names() -> None:
    engine = answering()
    chance = random.Random(1)
    template = build(init_request())
    for _ in range(5000):
        garbled = bytearray(template)
        for _ in range(chance.randrange(1, 6)):
            garbled[chance.randrange(len(garbled))] = chance.randrange(256)
        cut = bytes(garbled[: chance.randrange(len(garbled) + 1)])
        engine.receive(cut, Path(HERE, address(chance.getrandbits(24))), 0.0)
        engine.receive(bytes(garbled), Path(HERE, address(chance.getrandbits(24))), 0.0)
    assert len(engine.core.counters) < 100
    assert "other" not in engine.core.counters


def test_an_informational_before_any_sa_gets_nothing() -> None:
    engine = answering()
    for exchange in ExchangeType:
        if exchange == ExchangeType.IKE_SA_INIT:
            continue
        message = Message(b"initiate", b"response", exchange, True, False, 0, [wire.Delete(Protocol.IKE, [])])
        assert ask(engine, message) == []
    assert not engine.ike_sas()


def test_peers_and_psks_are_still_found() -> None:
    """The door is shut on strangers, not on the configured."""
    network = Network(9)
    left = peer("right", me="left.example", them="right.example", remote=HERE)
    a, b = two(network, left=left)
    network.apply(b, Snapshot.build(2, b.engine.core.snapshot.peers.values(), [psk()], EngineSettings(puzzles=True)))
    network.run(2)
    assert a.engine.core.established("right")
