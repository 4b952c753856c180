"""Messages in fragments: cut and joined again, in whatever order they come; nothing that a stranger sends is kept."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import suites
from gateway.ike.fragments import MAX_FRAGMENTS, UNPROVEN_OCTETS, Partial, Pool, assemble, collect, room, smaller
from gateway.ike.path import Path
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Child, Start
from gateway.policy.selectors import Selector
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build_skf_header, parse, parse_header
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Drop, Reject
from tests.ike.test_protect import ROWS, ends, message
from tests.simulation.network import ESP, Host, Network, Weather, peer, two

GCM = suites.by_keyword("aes256gcm16")


def protections() -> tuple[Protection, Protection]:
    assert isinstance(GCM, suites.Encryption)
    return ends(GCM, None)


def joined(theirs: Protection, datagrams: list[bytes]) -> list[wire.Payload]:
    """What the receiver makes of these fragments; fails when they are no whole message."""
    pool, partial, last = Pool(100_000), None, message()
    for datagram in datagrams:
        last = parse(datagram)
        partial = collect(partial, pool, theirs, last, datagram, proven=True)
    assert partial is not None and partial.whole
    assemble(partial, last)
    assert pool.used == 0
    return last.payloads


@pytest.mark.parametrize(("encr", "integ"), ROWS, ids=lambda row: row.keyword if row else "-")
def test_fragments_join_under_every_algorithm(encr: suites.Encryption, integ: suites.Integrity | None) -> None:
    ours, theirs = ends(encr, integ)
    inner = [wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b""), wire.Nonce(bytes(range(256)) * 5)]
    for limit in (200, 333, 500, 1240):
        datagrams = ours.seal_within(message(), list(inner), limit)
        assert len(datagrams) > 1
        assert all(len(datagram) <= limit for datagram in datagrams)
        assert [parse(datagram).payloads[0].total for datagram in datagrams] == [len(datagrams)] * len(datagrams)  # type: ignore[attr-defined]
        assert joined(theirs, list(datagrams)) == inner


def test_what_fits_is_not_cut() -> None:
    ours, _ = protections()
    (whole,) = ours.seal_within(message(), [wire.Nonce(b"n" * 256)], 10_000)
    assert ours.seal_within(message(), [wire.Nonce(b"n" * 256)], len(whole)) != (whole,)  # another IV
    assert len(ours.seal_within(message(), [wire.Nonce(b"n" * 256)], len(whole))) == 1
    assert len(ours.seal_within(message(), [wire.Nonce(b"n" * 256)], len(whole) - 1)) == 2


@given(st.integers(0, 2**32), st.integers(150, 900))
def test_any_order_and_any_repeats_join(seed: int, limit: int) -> None:
    ours, theirs = protections()
    inner: list[wire.Payload] = [wire.Nonce(b"%d" % number * 20) for number in range(10, 40)]
    chance = random.Random(seed)
    datagrams = list(ours.seal_within(message(), list(inner), limit))
    chance.shuffle(datagrams)
    again = datagrams[:-1] * 2
    chance.shuffle(again)
    pool, partial = Pool(100_000), None
    for datagram in [*again, datagrams[-1]]:
        last = parse(datagram)
        try:
            partial = collect(partial, pool, theirs, last, datagram, proven=False)
        except Drop as drop:
            assert drop.why == "fragment again"  # noqa: PT017
    assert partial is not None and partial.whole
    assemble(partial, last)
    assert last.payloads == inner


def test_smaller_fragments_start_afresh_and_the_older_ones_are_ignored() -> None:
    ours, theirs = protections()
    inner: list[wire.Payload] = [wire.Nonce(b"x" * 200) for _ in range(5)]
    large = ours.seal_within(message(), list(inner), 600)
    small = ours.fragmented(large, 300)
    assert len(small) > len(large)
    assert ours.fragmented(large, 5000) is large
    pool, first = Pool(100_000), parse(large[0])
    partial = collect(None, pool, theirs, first, large[0], proven=True)
    newer = collect(partial, pool, theirs, parse(small[1]), small[1], proven=True)
    assert newer is not partial
    with pytest.raises(Drop, match="older set"):
        collect(newer, pool, theirs, parse(large[1]), large[1], proven=True)
    last = message()
    for datagram in (*small[2:], small[0]):
        last = parse(datagram)
        newer = collect(newer, pool, theirs, last, datagram, proven=True)
    assemble(newer, last)
    assert last.payloads == inner
    assert pool.used == 0


def test_what_is_not_the_peers_changes_nothing() -> None:
    ours, theirs = protections()
    datagrams = ours.seal_within(message(), [wire.Nonce(b"x" * 256), wire.Nonce(b"y" * 256)], 300)
    pool = Pool(100_000)
    partial = collect(None, pool, theirs, parse(datagrams[0]), datagrams[0], proven=True)
    used = pool.used
    forged = bytearray(ours.fragmented(datagrams, 200)[0])
    forged[-1] ^= 1
    with pytest.raises(Drop, match="integrity"):  # its larger total would have restarted the set
        collect(partial, pool, theirs, parse(bytes(forged)), bytes(forged), proven=True)
    assert pool.used == used
    assert list(partial.pieces) == [1]


def hand_made(ours: Protection, number: int, total: int, octets: int) -> bytes:
    """A fragment as only the peer can seal it, with any numbers."""
    plain = bytes(octets)
    header = build_skf_header(message(), 40, number, total, 8 + octets + 1 + 16)
    return ours._encrypt(ours._cipher(ours._ours), header, plain)


def test_limits_hold_for_a_peer_that_knows_the_keys() -> None:
    ours, theirs = protections()
    datagram = hand_made(ours, 1, MAX_FRAGMENTS + 1, 10)
    with pytest.raises(Drop, match="too many fragments"):
        collect(None, Pool(100_000), theirs, parse(datagram), datagram, proven=True)
    pool, partial = Pool(10**6), None
    with pytest.raises(Drop, match="too large"):
        for number in range(1, MAX_FRAGMENTS + 1):
            datagram = hand_made(ours, number, MAX_FRAGMENTS, 1000)
            partial = collect(partial, pool, theirs, parse(datagram), datagram, proven=False)
    assert partial is not None
    assert sum(map(len, partial.pieces.values())) <= UNPROVEN_OCTETS
    partial.discard()
    assert pool.used == 0
    with pytest.raises(Drop, match="no memory"):
        collect(None, Pool(500), theirs, parse(datagram), datagram, proven=True)


def test_nonsense_in_all_fragments_is_refused_as_one_message() -> None:
    ours, theirs = protections()
    partial: Partial | None = None
    for number in (2, 1):
        datagram = hand_made(ours, number, 2, 3)
        last = parse(datagram)
        partial = collect(partial, Pool(10_000), theirs, last, datagram, proven=True)
    assert partial is not None
    with pytest.raises(Reject, match="malformed"):
        assemble(partial, last)


def test_sizes() -> None:
    plain, marked, six = Path("a", "192.0.2.1"), Path("a", "192.0.2.1", marked=True), Path("a", "2001:db8::1")
    assert [room(path, 1280) for path in (plain, marked, six)] == [1252, 1248, 1232]
    assert room(plain, 0) == 0
    assert [smaller(plain, 1500), smaller(plain, 1280), smaller(plain, 576)] == [1280, 576, None]
    assert [smaller(six, 1500), smaller(six, 1280)] == [1280, None]


# --- in the engine ---


def many_networks(octets: int = 576, *, theirs: int | None = None) -> tuple[Network, Host, Host]:
    """Two ends whose IKE_AUTH is large: the child has 80 networks on one side."""
    network = Network(3)
    far = tuple(Selector.parse(f"10.2.{number}.0/25") for number in range(80))
    near = (Selector.parse("10.1.0.0/24"),)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", fragment_octets=octets)
    right = peer(
        "left",
        me="right.example",
        them="left.example",
        remote="192.0.2.1",
        start=Start.PASSIVE,
        fragment_octets=octets if theirs is None else theirs,
    )
    left = replace(left, children=(Child("net", near, far, ESP),), resumption=False)
    right = replace(right, children=(Child("net", far, near, ESP, Start.PASSIVE),), resumption=False)
    return network, *two(network, left=left, right=right)


def established(host: Host) -> list[IkeSa]:
    return [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]


def kinds(network: Network) -> list[tuple[int, int]]:
    """(exchange, next payload) of everything carried."""
    headers = [parse_header(data) for _, _, _, data in network.carried if len(data) > 1]
    return [(header.exchange, header.next_payload) for header in headers]


def test_large_messages_go_in_fragments_both_ways() -> None:
    network, a, b = many_networks()
    network.mtu = 576
    network.run(1)
    assert established(a) and established(b)
    auth = [kind for exchange, kind in kinds(network) if exchange == ExchangeType.IKE_AUTH]
    assert auth == [wire.SKF.payload_type] * 8
    assert a.engine.core.counters["reassembled"] == b.engine.core.counters["reassembled"] == 1


@pytest.mark.parametrize("sizes", [(0, 576), (576, 0)])
def test_without_the_others_consent_nothing_is_cut(sizes: tuple[int, int]) -> None:
    network, a, b = many_networks(sizes[0], theirs=sizes[1])
    network.run(1)
    assert established(a) and established(b)
    assert not [kind for _, kind in kinds(network) if kind == wire.SKF.payload_type]


def test_path_that_loses_large_datagrams_is_found_out() -> None:
    network, a, b = many_networks(5000)
    network.mtu = 600
    network.run(60)
    (ours,), (theirs,) = established(a), established(b)
    assert ours.fragmentation == theirs.fragmentation == 576
    assert a.engine.core.counters["fragmented-smaller"] == 2
    assert len(a.engine.core.attempts.latest(9)) == 1, "one call is enough"


def test_response_that_is_lost_for_its_size_comes_in_smaller_fragments() -> None:
    """The request of a rekey is small enough, the response is not: only the responder can mend it."""
    network, a, b = many_networks(5000)
    network.run(1)
    network.mtu = 600
    (ours,) = established(a)
    (child,) = ours.children.values()
    network.perform(b, b.engine.rekey("left", "net", network.now)[1])
    network.run(60)
    (renewed,) = ours.children.values()
    assert renewed.rekeys == 1
    assert renewed.spi_in != child.spi_in


def fragments_of_auth(network: Network) -> list[bytes]:
    return [
        data
        for _, source, _, data in network.carried
        if source == "192.0.2.1" and parse_header(data).exchange == ExchangeType.IKE_AUTH
    ]


def test_only_the_first_fragment_of_an_answered_request_brings_the_response_again() -> None:
    network, _, b = many_networks()
    network.run(1)
    (sa,) = established(b)
    path = sa.path
    assert len(sa.responses.last_response) > 1
    fragments = fragments_of_auth(network)
    sent = [len(b.engine.receive(fragment, path, network.now)) for fragment in fragments]
    assert sent == [len(sa.responses.last_response), 0, 0, 0]
    changed = fragments[0][:-1] + bytes((fragments[0][-1] ^ 1,))
    assert b.engine.receive(changed, path, network.now) == []


def test_unfinished_message_is_forgotten_in_time() -> None:
    network, _, b = many_networks()
    network.run(0.015)
    network.cut.add(("192.0.2.1", "192.0.2.2"))  # from IKE_AUTH on
    network.run(0.1)
    ((fragment, *_), core) = (fragments_of_auth(network), b.engine.core)
    (sa,) = core.sas.values()
    b.engine.receive(fragment, sa.path, network.now)
    assert core.unproven_fragments.used > 0
    network.hosts["192.0.2.1"].alive = False
    network.run(60)
    assert core.unproven_fragments.used == 0
    assert not core.sas


def test_fragment_before_there_are_keys_is_dropped() -> None:
    network, a, _ = many_networks()
    (sa,) = a.engine.ike_sas()
    header = Message(sa.spi_i, bytes(8), ExchangeType.IKE_SA_INIT, False, True, 0, [])
    datagram = build_skf_header(header, 40, 1, 2, 60) + bytes(60)
    path = sa.path
    assert a.engine.receive(datagram, path, network.now) == []


@pytest.mark.parametrize("seed", range(25))
def test_tunnel_comes_up_in_fragments_over_a_bad_and_narrow_network(seed: int) -> None:
    network, a, b = many_networks(1280)
    network.random.seed(seed)
    network.mtu = 600
    network.weather = Weather(loss=0.25, duplicate=0.2, delay=0.05, jitter=0.8)
    network.run(400)
    network.weather = Weather()
    network.run(120)
    (ours,), (theirs,) = established(a), established(b)
    assert ours.keys == theirs.keys
    assert [child.spi_out for child in ours.children.values()] == [child.spi_in for child in theirs.children.values()]
    for host in (a, b):
        core = host.engine.core
        assert core.unproven_fragments.used == core.proven_fragments.used == 0
        assert ours.requests.partial is None and ours.responses.partial is None
