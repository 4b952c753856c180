"""The ESP codec: RFC vectors, every algorithm, what peers and strangers can make wrong, and the end of the numbers."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto.ciphers import sealer
from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, Encryption, Integrity, by_keyword
from gateway.dataplane.esp import DUMMY, IPV4, IPV6, Exhausted, Forged, InboundEsp, Malformed, OutboundEsp, Replayed
from gateway.ike.plane import EspState
from tests.vectors_root import vectors

SUITES: list[tuple[Encryption, Integrity | None]] = [
    (encr, integ) for encr in ENCRYPTIONS for integ in ([None] if encr.aead else INTEGRITIES)
]


def state(encr: Encryption, integ: Integrity | None = None, *, esn: bool = False, window: int = 128) -> EspState:
    key, mac_key = bytes(range(encr.key_material_octets)), bytes(integ.key_octets) if integ else b""
    return EspState(
        0x01020304, "192.0.2.1", "192.0.2.2", True, 1, encr, key, integ, mac_key, esn=esn, replay_window=window
    )


def row(keyword: str) -> Encryption:
    found = by_keyword(keyword)
    assert isinstance(found, Encryption)
    return found


def mac(keyword: str) -> Integrity:
    found = by_keyword(keyword)
    assert isinstance(found, Integrity)
    return found


GCM = state(row("aes256gcm16"))


def ipv4(payload: bytes = b"", *, length: int | None = None) -> bytes:
    octets = 20 + len(payload) if length is None else length
    head = b"\x45\0" + octets.to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0" + bytes([10, 1, 0, 1, 10, 2, 0, 1])
    return head + payload


def ipv6(payload: bytes = b"") -> bytes:
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + b"\x11\x40" + bytes(32) + payload


def fixed(octets: bytes) -> Callable[[int], bytes]:
    def random(count: int) -> bytes:
        assert count == len(octets)
        return octets

    return random


# -- vectors


def test_rfc_7634_appendix_a() -> None:
    vector = json.loads((vectors() / "rfc_vectors.json").read_text())["vectors"]["rfc7634_esp"]
    chacha = replace(GCM, encr=row("chacha20poly1305"), encr_key=bytes.fromhex(vector["keymat"]))
    packet, iv = bytes.fromhex(vector["source_packet"]), bytes.fromhex(vector["iv"])
    expected = bytes.fromhex(vector["esp_packet"])[20:]  # behind the outer IP header
    # Our IVs count up with the sequence number from a random place: begin where number 5 meets the vector's.
    out = OutboundEsp(chacha, fixed((int.from_bytes(iv, "big") - vector["seq"]).to_bytes(8, "big")))
    out.sequence = vector["seq"] - 1
    assert out.seal(packet, IPV4) == expected
    assert InboundEsp(chacha).open(expected) == packet


@pytest.mark.parametrize("case", [5, 6, 7, 8])
def test_rfc_3602_section_4(case: int) -> None:
    found = json.loads((vectors() / "rfc_vectors.json").read_text())["vectors"]["rfc3602_esp"]
    vector = next(vector for vector in found if vector["case"] == case)
    plain, sequence = bytes.fromhex(vector["plain"]), int(vector["spiseq"][8:], 16)
    padding, next_header = plain[-2], plain[-1]
    cbc = replace(
        state(row("aes128"), mac("sha256")), spi=int(vector["spi"], 16), encr_key=bytes.fromhex(vector["key"])
    )
    out = OutboundEsp(cbc, fixed(bytes.fromhex(vector["iv"])))
    out.sequence = sequence - 1
    sealed = out.seal(plain[: -2 - padding], next_header)
    assert sealed[:-16] == bytes.fromhex(vector["spiseq"] + vector["iv"] + vector["ct"])  # the RFC's have no ICV
    if next_header == IPV4:
        assert InboundEsp(cbc).open(sealed) == plain[: -2 - padding]
    else:  # cases 5 and 6 are in transport mode
        with pytest.raises(Malformed, match="next header 1 "):
            InboundEsp(cbc).open(sealed)


# -- every algorithm


@pytest.mark.parametrize("esn", [False, True], ids=["32-bit", "esn"])
@pytest.mark.parametrize(("encr", "integ"), SUITES, ids=lambda row: row.keyword if row else "-")
def test_every_suite_carries_packets_of_every_length(encr: Encryption, integ: Integrity | None, esn: bool) -> None:
    keyed = state(encr, integ, esn=esn)
    out, into = OutboundEsp(keyed), InboundEsp(keyed)
    ivs = set()
    for octets in range(18):
        for packet, next_header in ((ipv4(bytes(octets)), IPV4), (ipv6(bytes(octets)), IPV6)):
            sealed = out.seal(packet, next_header)
            assert len(sealed) == out.sealed_octets(len(packet))
            assert not (len(sealed) - 8 - encr.iv_octets - into._icv) % max(4, encr.block_octets)  # RFC 4303 2.4
            assert into.open(sealed) == packet
            ivs.add(sealed[8 : 8 + encr.iv_octets])
            with pytest.raises(Replayed):
                into.open(sealed)
    assert len(ivs) == 36


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("keywords", [("aes256gcm16", ""), ("aes128ctr", "sha256"), ("aes256", "aescmac")])
def test_every_octet_is_protected(keywords: tuple[str, str], esn: bool) -> None:
    keyed = state(row(keywords[0]), mac(keywords[1]) if keywords[1] else None, esn=esn)
    sealed = OutboundEsp(keyed).seal(ipv4(b"payload"), IPV4)
    for place in range(4, len(sealed)):  # the SPI chose the state
        for bit in (1, 0x80):
            forged = bytearray(sealed)
            forged[place] ^= bit
            with pytest.raises((Forged, Replayed)):  # number 0 is refused before the ICV is looked at
                InboundEsp(keyed).open(bytes(forged))
    into = InboundEsp(keyed)
    for octets in range(len(sealed)):
        with pytest.raises((Forged, Malformed)):
            into.open(sealed[:octets])
    assert into.window.top == 0, "a forgery must not move the window"
    assert into.open(sealed) == ipv4(b"payload")


def test_keys_of_a_wrong_length_are_refused() -> None:
    for wrong in (replace(GCM, encr_key=bytes(32)), replace(GCM, integ=mac("sha256"), integ_key=bytes(32))):
        with pytest.raises(ValueError):
            OutboundEsp(wrong)
        with pytest.raises(ValueError):
            InboundEsp(wrong)


# -- what is inside


def seal_plain(keyed: EspState, plain: bytes, sequence: int = 1) -> bytes:
    """A genuine packet around any plaintext, trailer included, as only the peer could make it."""
    cipher = sealer(keyed.encr, keyed.encr_key)
    head, iv = keyed.spi.to_bytes(4, "big") + sequence.to_bytes(4, "big"), bytes(8)
    return head + iv + cipher.seal(iv, head, plain)


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (ipv4() + b"\x01\x02\x02\x06", "next header 6 "),
        (ipv4() + b"\x01\x03\x02\x04", "padding is not"),
        (ipv4() + b"\x01\x02\xff\x04", "padding is longer"),
        (ipv6()[:20] + b"\x01\x02\x02\x04", "no IPv4"),
        (ipv6()[:20] + b"\x01\x02\x02\x29", "no IPv6"),
        (ipv4() + ipv4() + b"\x01\x02\x02\x29", "no IPv6"),
        (ipv4(length=21) + b"\x01\x02\x02\x04", "cut short"),
        (ipv4(length=19) + b"\x01\x02\x02\x04", "no IPv4"),
        (ipv6(b"x" * 8)[:-4] + b"\x01\x02\x02\x29", "cut short"),
        (b"\x01\x02\x02\x04", "no IPv4"),
    ],
)
def test_a_genuine_packet_with_a_senseless_inside_is_malformed(plain: bytes, why: str) -> None:
    into = InboundEsp(GCM)
    with pytest.raises(Malformed, match=why):
        into.open(seal_plain(GCM, plain))
    assert into.window.top == 1, "it was genuine: it must not come twice"


def test_a_dummy_packet_is_nothing() -> None:
    assert InboundEsp(GCM).open(OutboundEsp(GCM).seal(b"whatever it says", DUMMY)) == b""


def test_padding_that_hides_the_length_is_taken_off() -> None:
    packet = ipv4(b"four")
    assert InboundEsp(GCM).open(seal_plain(GCM, packet + bytes(100) + b"\x01\x02\x02\x04")) == packet


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_from_strangers_are_refused(data: bytes, esn: bool) -> None:
    with pytest.raises((Forged, Malformed, Replayed)):
        InboundEsp(replace(GCM, esn=esn)).open(data)


@given(st.binary(min_size=2, max_size=300))
def test_any_plaintext_of_a_peer_gives_a_packet_or_is_malformed(plain: bytes) -> None:
    try:
        packet = InboundEsp(GCM).open(seal_plain(GCM, plain))
    except Malformed:
        return
    assert plain.startswith(packet)


# -- order, loss and repetition


@settings(max_examples=60)
@given(st.data(), st.booleans(), st.sampled_from([1, 32, 128]), st.sampled_from([0, 2**32 - 20, 2**33 - 3]))
def test_each_packet_comes_out_at_most_once_in_any_order(
    data: st.DataObject, esn: bool, window: int, start: int
) -> None:
    if not esn:
        start = min(start, 2**32 - 100)
    keyed = replace(GCM, esn=esn, replay_window=window)
    out, into = OutboundEsp(keyed), InboundEsp(keyed)
    out.sequence = start
    if start:
        into.window.accept(start)
    packets = [ipv4(number.to_bytes(2, "big")) for number in range(40)]
    sealed = [out.seal(packet, IPV4) for packet in packets]
    highest, seen = start, set()
    for number in data.draw(st.lists(st.integers(0, 39), max_size=120)):
        sequence = start + 1 + number
        if number in seen or sequence <= highest - window:
            with pytest.raises((Replayed, Forged)):  # with ESN a number left of the window means one far ahead
                into.open(sealed[number])
        else:
            assert into.open(sealed[number]) == packets[number]
            assert into.newest == (sequence > highest)
            seen.add(number)
            highest = max(highest, sequence)


def test_extended_numbers_go_on_past_32_bits_and_the_high_half_is_protected() -> None:
    for keyed in (replace(GCM, esn=True), state(row("aes256"), mac("sha256"), esn=True)):
        out, into = OutboundEsp(keyed), InboundEsp(keyed)
        out.sequence = 2**32 - 3
        into.window.accept(2**32 - 3)
        for _ in range(6):
            assert into.open(out.seal(ipv4(), IPV4)) == ipv4()
        assert into.window.top == 2**32 + 3
        late = InboundEsp(keyed)  # believes in high half 0: the same low bits must not be accepted
        with pytest.raises(Forged):
            late.open(out.seal(ipv4(), IPV4))


def test_numbers_never_cycle() -> None:
    out = OutboundEsp(GCM)
    assert out.hard == 2**32 - 1
    assert out.soft < out.hard - 2**20
    out.sequence = out.hard - 1
    last = out.seal(ipv4(), IPV4)
    assert last[4:8] == b"\xff\xff\xff\xff"
    for _ in range(2):
        with pytest.raises(Exhausted):
            out.seal(ipv4(), IPV4)
    assert out.sequence == out.hard


def test_a_key_installed_twice_does_not_repeat_its_ivs() -> None:
    first, second = (OutboundEsp(GCM).seal(ipv4(), IPV4)[8:16] for _ in range(2))
    assert first != second


# -- skipping sequence numbers


@pytest.mark.parametrize("esn", [False, True])
def test_numbers_can_skip_and_never_come_again(esn: bool) -> None:
    wide = state(row("aes256gcm16"), esn=esn)
    out, into = OutboundEsp(wide), InboundEsp(wide)
    first = out.seal(ipv4(b"one"), IPV4)
    assert into.open(first) == ipv4(b"one")
    out.skip(1 << 30)
    second = out.seal(ipv4(b"two"), IPV4)
    assert int.from_bytes(second[4:8], "big") == (1 << 30) + 2
    assert into.open(second) == ipv4(b"two")
    assert first[8:16] != second[8:16]
    for _ in range(4 if not esn else 1):
        out.skip((1 << 64 if esn else 1 << 32) // 4)
    if not esn:
        with pytest.raises(Exhausted):
            out.seal(ipv4(), IPV4)
