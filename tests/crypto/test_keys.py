"""Key derivation against NIST's cases, and the places where the RFCs say more than NIST asks."""

import dataclasses
import gzip
import json
from typing import Any

import pytest

from gateway.crypto.keys import (
    ChildKeys,
    IkeKeys,
    child_keys,
    ike_keys,
    ppk_confirmation,
    ppk_keys,
    ppk_skeyseed,
    psk_auth,
    rekey_skeyseed,
    signed_octets,
    skeyseed,
)
from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, PRFS, PseudoRandom, encryption, integrity, pseudo_random
from tests.crypto.carried import CARRIED, unhex
from tests.vectors_root import vectors

PRF_OF = {"SHA-1": 2, "SHA-256": 5, "SHA-384": 6, "SHA-512": 7}
SHA256, XCBC, CMAC = (row for number in (5, 4, 8) if (row := pseudo_random(number)))
NONCE_I, NONCE_R = bytes(range(32)), bytes(range(32, 64))


def concatenated(keys: IkeKeys | ChildKeys) -> bytes:
    return b"".join(getattr(keys, field.name) for field in dataclasses.fields(keys))


def check_cavs(case: dict[str, Any]) -> None:
    """SKEYSEED, prf+ and its cuts, the CHILD_SA with and without a key exchange, the rekeyed SKEYSEED."""
    prf = pseudo_random(PRF_OF[case["hash"]])
    assert prf is not None
    nonce_i, nonce_r, shared, new = unhex(case, "Ni", "Nr", "g^ir", "g^ir (new)")
    spi_i, spi_r, seed, dkm, plain, exchanged, rekeyed = unhex(
        case, "SPIi", "SPIr", "SKEYSEED", "DKM", "DKM(Child SA)", "DKM(Child SA D-H)", "SKEYSEED(Rekey)"
    )
    assert skeyseed(prf, nonce_i, nonce_r, shared) == seed
    assert prf.expand(seed, nonce_i + nonce_r + spi_i + spi_r, len(dkm)) == dkm
    encr, integ = encryption(12, 256), integrity(14)
    assert encr is not None
    assert integ is not None
    keys = ike_keys(prf, seed, nonce_i, nonce_r, spi_i, spi_r, encr, integ)
    shortest = min(len(dkm), 3 * prf.key_octets + 2 * 32 + 2 * 64)
    assert concatenated(keys)[:shortest] == dkm[:shortest]
    for expected, secret in ((plain, b""), (exchanged, new)):
        assert prf.expand(keys.d, secret + nonce_i + nonce_r, len(expected)) == expected
        child = concatenated(child_keys(prf, keys.d, nonce_i, nonce_r, encr, integ, secret))
        assert child[: len(expected)] == expected[: len(child)]
    assert rekey_skeyseed(prf, keys.d, new, nonce_i, nonce_r) == rekeyed


@pytest.mark.parametrize("case", CARRIED["kdf"], ids=lambda case: f"{case['hash']}-{case['count']}")
def test_carried_nist_cases(case: dict[str, Any]) -> None:
    check_cavs(case)


def test_all_nist_cases() -> None:
    cases = json.loads(gzip.decompress((vectors() / "ikev2_kdf_cavs.json.gz").read_bytes()))["vectors"]
    assert len(cases) == 450
    for case in cases:
        check_cavs(case)


@pytest.mark.parametrize("prf", PRFS, ids=lambda prf: prf.keyword)
def test_every_suite_cuts_the_stream_without_gap_or_overlap(prf: PseudoRandom) -> None:
    for encr in ENCRYPTIONS:
        for integ in (None,) if encr.aead else INTEGRITIES:
            keys = ike_keys(prf, b"seed", NONCE_I, NONCE_R, b"i" * 8, b"r" * 8, encr, integ)
            a = integ.key_octets if integ else 0
            assert len(keys.d) == len(keys.pi) == len(keys.pr) == prf.key_octets
            assert len(keys.ai) == len(keys.ar) == a
            assert len(keys.ei) == len(keys.er) == encr.key_material_octets
            stream = concatenated(keys)
            assert stream == prf.expand(b"seed", NONCE_I + NONCE_R + b"i" * 8 + b"r" * 8, len(stream))
            child = child_keys(prf, keys.d, NONCE_I, NONCE_R, encr, integ, b"shared", b"more")
            assert (len(child.encr_i), len(child.integ_i)) == (encr.key_material_octets, a)
            stream = concatenated(child)
            assert stream == prf.expand(
                keys.d, b"shared" + NONCE_I + NONCE_R + b"more", 2 * encr.key_material_octets + 2 * a
            )


def test_ah_takes_integrity_keys_alone() -> None:
    keys = child_keys(SHA256, b"d" * 32, NONCE_I, NONCE_R, None, integrity(12))
    assert (len(keys.integ_i), len(keys.integ_r), keys.encr_i, keys.encr_r) == (32, 32, b"", b"")
    assert keys.integ_i != keys.integ_r


@pytest.mark.parametrize("prf", [XCBC, CMAC], ids=lambda prf: prf.keyword)
def test_aes_functions_take_64_bits_of_each_nonce_for_skeyseed_only(prf: PseudoRandom) -> None:
    """RFC 7296 2.14."""
    assert skeyseed(prf, NONCE_I, NONCE_R, b"shared") == prf.compute(NONCE_I[:8] + NONCE_R[:8], b"shared")
    assert rekey_skeyseed(prf, b"d" * 16, b"shared", NONCE_I, NONCE_R) == prf.compute(
        b"d" * 16, b"shared" + NONCE_I + NONCE_R
    )
    encr, integ = encryption(12, 128), integrity(5)
    assert encr is not None
    keys = ike_keys(prf, b"s" * 16, NONCE_I, NONCE_R, bytes(8), bytes(8), encr, integ)
    assert keys.d == prf.compute(b"s" * 16, NONCE_I + NONCE_R + bytes(16) + b"\x01")


def test_additional_secrets_follow_the_nonces() -> None:
    """RFC 9370 2.2.4."""
    assert rekey_skeyseed(SHA256, b"d", b"SK0", b"Ni", b"Nr", b"SK1SK2") == SHA256.compute(b"d", b"SK0NiNrSK1SK2")


def test_a_preshared_key_is_mixed_into_three_of_the_seven() -> None:
    """RFC 8784 3."""
    keys = IkeKeys(*(bytes((n,)) * 32 for n in range(7)))
    mixed = ppk_keys(SHA256, b"ppk", keys)
    assert (mixed.ai, mixed.ar, mixed.ei, mixed.er) == (keys.ai, keys.ar, keys.ei, keys.er)
    assert [mixed.d, mixed.pi, mixed.pr] == [
        SHA256.compute(b"ppk", key + b"\x01") for key in (keys.d, keys.pi, keys.pr)
    ]


def test_a_pre_shared_key_is_mixed_into_all_of_them_and_confirmed() -> None:
    """RFC 9867 3.1: SKEYSEED' = prf+(PPK, SK_d), and the first octets of prf(PPK, Ni | Nr | SPIi | SPIr)."""
    assert ppk_skeyseed(SHA256, b"ppk", b"sk_d") == SHA256.compute(b"ppk", b"sk_d" + b"\x01")
    told = ppk_confirmation(SHA256, b"ppk", NONCE_I, NONCE_R, b"spi of i", b"spi of r")
    assert told == SHA256.compute(b"ppk", NONCE_I + NONCE_R + b"spi of i" + b"spi of r")[:8]


def test_signed_octets_and_shared_key_auth() -> None:
    """RFC 7296 2.15, RFC 9242 3.3.2."""
    octets = signed_octets(b"message", b"nonce", SHA256, b"sk_p", b"\x02\0\0\0id", b"intauth")
    assert octets == b"message" + b"nonce" + SHA256.compute(b"sk_p", b"\x02\0\0\0id") + b"intauth"
    assert psk_auth(SHA256, b"psk", octets) == SHA256.compute(SHA256.compute(b"psk", b"Key Pad for IKEv2"), octets)


def test_no_key_is_shown() -> None:
    secret = b"very secret"
    assert "secret" not in repr(IkeKeys(*[secret] * 7))
    assert "secret" not in repr(ChildKeys(*[secret] * 4))
