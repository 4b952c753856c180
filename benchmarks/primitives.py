"""CPU time of the crypto floor's operations, in microseconds: `python -m benchmarks.primitives [words to select]`."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from gateway.crypto.ciphers import Cipher, sealer
from gateway.crypto.groups import accept, offer
from gateway.crypto.keys import child_keys, ike_keys, psk_auth, signed_octets, skeyseed
from gateway.crypto.suites import KEY_EXCHANGES, PRFS, Encryption, Integrity, encryption, integrity

Case = tuple[str, Callable[[], object]]
REPEATS = 7
SECONDS = 0.03  # of CPU for one repeat
SUITES = (
    ((20, 256), None),
    ((20, 128), None),
    ((28, 0), None),
    ((16, 128), None),
    ((18, 128), None),
    ((12, 128), 12),
    ((12, 256), 14),
    ((13, 128), 12),
    ((12, 128), 5),
)


def measure(call: Callable[[], object]) -> float:
    """The least CPU microseconds of a call over the repeats: take ratios, not absolutes."""
    count, best = 1, float("inf")
    for _ in range(REPEATS):
        while True:
            start = time.process_time()
            for _ in range(count):
                call()
            spent = time.process_time() - start
            if spent >= SECONDS or count >= 1 << 20:
                break
            count *= 2
        best = min(best, spent / count)
    return best * 1e6


def key_exchanges() -> Iterator[Case]:
    for row in KEY_EXCHANGES:
        started = offer(row.number, os.urandom)
        answer, _ = accept(row.number, started.public, os.urandom)
        yield f"{row.keyword} offer", partial(offer, row.number, os.urandom)
        yield f"{row.keyword} accept", partial(accept, row.number, started.public, os.urandom)
        yield f"{row.keyword} finish", partial(started.finish, answer)


def keys() -> Iterator[Case]:
    gcm = encryption(20, 256)
    assert gcm is not None
    nonce, spi = os.urandom(32), os.urandom(8)
    for prf in PRFS:
        secret = os.urandom(prf.key_octets)
        yield f"{prf.keyword} skeyseed", partial(skeyseed, prf, nonce, nonce, nonce)
        yield f"{prf.keyword} ike_keys", partial(ike_keys, prf, secret, nonce, nonce, spi, spi, gcm, None)
        yield f"{prf.keyword} child_keys", partial(child_keys, prf, secret, nonce, nonce, gcm, None)
        octets = signed_octets(bytes(240), nonce, prf, secret, b"identity")
        yield f"{prf.keyword} psk_auth", partial(psk_auth, prf, b"psk", octets)


def _cipher_cases(name: str, cipher: Cipher, octets: int) -> Iterator[Case]:
    iv, aad, plaintext = os.urandom(cipher.iv_octets), bytes(8), bytes(octets // 16 * 16)
    sealed = cipher.seal(iv, aad, plaintext)
    into, back = bytearray(len(sealed)), bytearray(len(plaintext))
    yield f"{name} seal {len(plaintext)} B", partial(cipher.seal, iv, aad, plaintext)
    yield f"{name} open {len(plaintext)} B", partial(cipher.open, iv, aad, sealed)
    yield f"{name} seal_into {len(plaintext)} B", partial(cipher.seal_into, iv, aad, plaintext, into)
    yield f"{name} open_into {len(plaintext)} B", partial(cipher.open_into, iv, aad, sealed, back)


def _key(encr: Encryption, integ: Integrity | None) -> Cipher:
    return sealer(encr, bytes(encr.key_material_octets), integ, bytes(integ.key_octets if integ else 0))


def ciphers() -> Iterator[Case]:
    for (number, bits), integ_number in SUITES:
        encr, integ = encryption(number, bits), integrity(integ_number or 0)
        assert encr is not None
        name = f"{encr.keyword}-{integ.keyword}" if integ else encr.keyword
        yield f"{name} keying", partial(_key, encr, integ)
        for octets in (200, 1400):
            yield from _cipher_cases(name, _key(encr, integ), octets)


def main(words: list[str]) -> None:
    for cases in (key_exchanges, keys, ciphers):
        for name, call in cases():
            if not words or any(word in name for word in words):
                print(f"{name:44} {measure(call):10.2f} us", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
