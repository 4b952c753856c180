"""Key exchange: the RFCs' vectors, agreement of both ends, and public values that must be refused."""

import hashlib
import random
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto import modp
from gateway.crypto.groups import InvalidPublic, accept, offer
from gateway.crypto.suites import KEY_EXCHANGES, KeyExchangeMethod, by_keyword, key_exchange
from tests.crypto.carried import CARRIED, unhex

CURVES = {
    19: ec.SECP256R1(),
    20: ec.SECP384R1(),
    21: ec.SECP521R1(),
    28: ec.BrainpoolP256R1(),
    29: ec.BrainpoolP384R1(),
    30: ec.BrainpoolP512R1(),
}
MODP = {14: 2048, 15: 3072, 16: 4096, 17: 6144, 18: 8192}


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def drawn(method: int, private: bytes) -> Callable[[int], bytes]:
    """Chance that makes just this private key."""
    if method in CURVES:  # the remainder plus one
        private = (int.from_bytes(private, "big") - 1).to_bytes(len(private), "big")
    return lambda octets: private.rjust(octets, b"\0")


def by_name(name: str) -> int:
    row = by_keyword(name)
    assert isinstance(row, KeyExchangeMethod)
    return row.number


@pytest.mark.parametrize("case", CARRIED["key_exchange"], ids=lambda case: f"{case['method']}-{case['shared'][:4]}")
def test_the_rfcs_vectors(case: dict[str, str]) -> None:
    method = int(case["method"])
    private_i, private_r, public_i, public_r, shared = unhex(
        case, "private_i", "private_r", "public_i", "public_r", "shared"
    )
    started = offer(method, drawn(method, private_i))
    assert started.public == public_i
    assert accept(method, public_i, drawn(method, private_r)) == (public_r, shared)
    assert started.finish(public_r) == shared


@pytest.mark.parametrize("row", KEY_EXCHANGES, ids=lambda row: row.keyword)
def test_both_ends_agree(row: KeyExchangeMethod) -> None:
    for seed in range(2 if row.public_octets > 512 else 8):
        started = offer(row.number, seeded(seed))
        public, shared = accept(row.number, started.public, seeded(seed + 100))
        assert started.finish(public) == shared
        lengths = len(started.public), len(public), len(shared)
        assert lengths == (row.public_octets, row.answer_octets, row.shared_octets)


@pytest.mark.parametrize("row", [r for r in KEY_EXCHANGES if r.public_octets <= 256], ids=lambda row: row.keyword)
@settings(max_examples=20)
@given(seed_i=st.binary(min_size=100, max_size=100), seed_r=st.binary(min_size=100, max_size=100))
def test_both_ends_agree_whatever_chance_gives(row: KeyExchangeMethod, seed_i: bytes, seed_r: bytes) -> None:
    started = offer(row.number, lambda octets: seed_i[:octets])
    public, shared = accept(row.number, started.public, lambda octets: seed_r[:octets])
    assert started.finish(public) == shared


@pytest.mark.parametrize("row", KEY_EXCHANGES, ids=lambda row: row.keyword)
def test_the_same_chance_makes_the_same_offer_and_another_makes_another(row: KeyExchangeMethod) -> None:
    assert offer(row.number, seeded(1)).public == offer(row.number, seeded(1)).public
    assert offer(row.number, seeded(1)).public != offer(row.number, seeded(2)).public


@pytest.mark.parametrize("row", KEY_EXCHANGES, ids=lambda row: row.keyword)
def test_wrong_lengths_are_refused_at_both_ends(row: KeyExchangeMethod) -> None:
    started = offer(row.number, seeded(1))
    answer, _ = accept(row.number, started.public, seeded(2))
    for wrong in (b"", started.public[:-1], started.public + b"\0", b"\0" + started.public):
        with pytest.raises(InvalidPublic, match="octets"):
            accept(row.number, wrong, seeded(3))
    for wrong in (b"", answer[:-1], answer + b"\0"):
        with pytest.raises(InvalidPublic, match="octets"):
            started.finish(wrong)


def refused(method: int, public: bytes) -> None:
    """Neither end may take it."""
    with pytest.raises(InvalidPublic):
        accept(method, public, seeded(1))
    with pytest.raises(InvalidPublic):
        offer(method, seeded(1)).finish(public)


@pytest.mark.parametrize(("method", "bits"), MODP.items())
def test_modp_values_out_of_range(method: int, bits: int) -> None:
    """RFC 6989 2.1: 1 < r < p - 1."""
    p = modp.prime(bits)
    for value in (0, 1, p - 1, p, p + 1, (1 << bits) - 1):
        refused(method, value.to_bytes(bits // 8, "big"))


@pytest.mark.parametrize(("method", "bits"), MODP.items())
def test_modp_is_exponentiation(method: int, bits: int) -> None:
    """Against Python's own pow, and padded to the prime's length (RFC 7296 2.14)."""
    p = modp.prime(bits)
    started = offer(method, seeded(5))
    size = modp.Modp(bits).private_octets
    top = 1 << (modp.Modp(bits).exponent_bits - 1)
    exponent = int.from_bytes(seeded(5)(size), "big") & (top - 1) | top
    assert int.from_bytes(started.public, "big") == pow(2, exponent, p)
    for peer in (2, 4, p - 2, pow(3, 12345, p)):
        public = peer.to_bytes(bits // 8, "big")
        assert started.finish(public) == pow(peer, exponent, p).to_bytes(bits // 8, "big")


@pytest.mark.parametrize(("method", "bits"), MODP.items())
def test_small_results_are_padded_to_the_primes_length(method: int, bits: int) -> None:
    """A peer's value whose power is 4: the secret is 4 and many leading zeros (RFC 7296 2.14)."""
    p = modp.prime(bits)
    size, top = modp.Modp(bits).private_octets, 1 << (modp.Modp(bits).exponent_bits - 1)
    exponent = int.from_bytes(seeded(5)(size), "big") & (top - 1) | top
    peer = pow(4, pow(exponent, -1, (p - 1) // 2), p).to_bytes(bits // 8, "big")
    four = (4).to_bytes(bits // 8, "big")
    assert offer(method, seeded(5)).finish(peer) == accept(method, peer, seeded(5))[1] == four


def test_the_primes_are_those_printed_in_the_rfc() -> None:
    for bits, digest in CARRIED["modp_sha256"].items():
        assert hashlib.sha256(modp.prime(int(bits)).to_bytes(int(bits) // 8, "big")).hexdigest() == digest


@pytest.mark.parametrize(("method", "curve"), CURVES.items(), ids=lambda value: getattr(value, "name", value))
def test_points_off_the_curve(method: int, curve: ec.EllipticCurve) -> None:
    """RFC 6989 2.3, RFC 5903 7."""
    row = key_exchange(method)
    assert row is not None
    half = row.public_octets // 2
    good = offer(method, seeded(7)).public
    refused(method, bytes(2 * half))
    refused(method, b"\xff" * (2 * half))
    refused(method, good[:-1] + bytes((good[-1] ^ 1,)))
    refused(method, good[half:] + good[:half])
    refused(method, good[:half] + bytes(half))
    # A coordinate that is not reduced: on the curve modulo p, and yet not an encoding of a point.
    x = int.from_bytes(good[:half], "big")
    too_large = x + (1 << (8 * half - 1))
    if too_large < 1 << (8 * half):
        refused(method, too_large.to_bytes(half, "big") + good[half:])


# The points of small order on Curve25519 in every encoding (cr.yp.to/ecdh.html "validate"), and on Curve448 0, 1, p - 1
# with the two unreduced p and p + 1 (RFC 7748 6: the result is then all zero).
P25519, P448 = 2**255 - 19, 2**448 - 2**224 - 1
SMALL_25519 = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P25519 - 1,
    P25519,
    P25519 + 1,
]


@pytest.mark.parametrize("value", [*SMALL_25519, *(value + 2**255 for value in SMALL_25519)], ids=hex)
def test_curve25519_points_of_small_order(value: int) -> None:
    refused(by_name("x25519"), value.to_bytes(32, "little"))


@pytest.mark.parametrize("value", [0, 1, P448 - 1, P448, P448 + 1], ids=lambda value: hex(value)[-4:])
def test_curve448_points_of_small_order(value: int) -> None:
    refused(by_name("x448"), value.to_bytes(56, "little"))


def test_curve25519_masks_the_top_bit_and_takes_values_that_are_not_reduced() -> None:
    """RFC 8031 3.2."""
    method = by_name("x25519")
    started = offer(method, seeded(1))
    assert started.finish((9 + 2**255).to_bytes(32, "little")) == started.finish((9).to_bytes(32, "little"))
    assert started.finish((P25519 + 9).to_bytes(32, "little")) == started.finish((9).to_bytes(32, "little"))


@pytest.mark.parametrize("name", ["mlkem768", "mlkem1024"])
def test_ml_kem_key_with_an_unreduced_coefficient(name: str) -> None:
    """FIPS 203 7.2; a wrong ciphertext gives another secret (FIPS 203 6.3)."""
    method = by_name(name)
    started = offer(method, seeded(1))
    with pytest.raises(InvalidPublic):
        accept(method, b"\xff\xff\xff" + started.public[3:], seeded(2))
    answer, shared = accept(method, started.public, seeded(2))
    assert started.finish(answer) == shared
    assert started.finish(bytes((answer[0] ^ 1,)) + answer[1:]) != shared


def test_unknown_methods_are_a_mistake_of_the_caller() -> None:
    for call in (lambda: offer(2, seeded(1)), lambda: accept(35, b"", seeded(1))):
        with pytest.raises(ValueError, match="no key exchange method"):
            call()


def test_an_offer_does_not_show_its_private_half() -> None:
    assert "finish" not in repr(offer(by_name("x25519"), seeded(1)))
