"""prf, prf+ and the MACs made of AES against the vectors of their RFCs."""

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import macs
from gateway.crypto.suites import PRFS, PseudoRandom
from tests.crypto.carried import CARRIED, unhex


@pytest.mark.parametrize("case", CARRIED["macs"])
def test_aes_macs(case: dict[str, str]) -> None:
    key, data, result = unhex(case, "key", "data", "result")
    assert getattr(macs, case["mac"])(key, data) == result


@pytest.mark.parametrize("octets", [0, 15, 17, 32])
def test_a_mac_key_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(ValueError, match="16 octets"):
        macs.aes_xcbc(bytes(octets), b"")


@given(key=st.binary(min_size=16, max_size=16), data=st.binary(max_size=80))
def test_cmac_with_a_16_octet_key_is_the_prf(key: bytes, data: bytes) -> None:
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    assert macs.aes_cmac_prf(key, data) == macs.aes_cmac(key, data) == mac.finalize()
    assert macs.aes_xcbc_prf(key, data) == macs.aes_xcbc(key, data)


def loop(prf: PseudoRandom, key: bytes, seed: bytes, octets: int) -> bytes:
    """prf+ as RFC 7296 2.13 writes it down."""
    stream, block, count = b"", b"", 0
    while len(stream) < octets:
        count += 1
        block = prf.compute(key, block + seed + bytes((count,)))
        stream += block
    return stream[:octets]


@pytest.mark.parametrize("prf", PRFS, ids=lambda prf: prf.keyword)
@given(key=st.binary(max_size=200), seed=st.binary(max_size=200), octets=st.integers(1, 400))
def test_expand_is_the_loop_of_the_rfc(prf: PseudoRandom, key: bytes, seed: bytes, octets: int) -> None:
    assert prf.expand(key, seed, octets) == loop(prf, key, seed, octets)
    if prf.digest:
        assert prf.compute(key, seed) == hmac.new(key, seed, prf.digest).digest()


@pytest.mark.parametrize("prf", PRFS, ids=lambda prf: prf.keyword)
def test_expand_ends_at_255_blocks(prf: PseudoRandom) -> None:
    most = 255 * prf.output_octets
    assert len(prf.expand(b"key", b"seed", most)) == most
    with pytest.raises(ValueError):
        prf.expand(b"key", b"seed", most + 1)


def test_only_the_aes_functions_shorten_the_nonces() -> None:
    assert {prf.keyword for prf in PRFS if prf.short_nonces} == {"prfaesxcbc", "prfaescmac"}
