"""Sealing and opening: the RFCs' vectors, an independent AES-CCM and AES-GCM, and whatever a forger may change."""

import hmac
import itertools
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as OpenSslCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto.ciphers import Cipher, Forged, sealer
from gateway.crypto.macs import aes_cmac, aes_xcbc
from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, Encryption, Integrity, by_keyword, encryption
from tests.crypto.carried import CARRIED, unhex

Suite = tuple[Encryption, Integrity | None]
SUITES: list[Suite] = [
    *((row, None) for row in ENCRYPTIONS if row.aead),
    *itertools.product((row for row in ENCRYPTIONS if not row.aead), INTEGRITIES),
]
KEY, INTEG_KEY = bytes(range(64)), bytes(range(64, 192))


def name(suite: Suite) -> str:
    return "-".join(row.keyword for row in suite if row)


def keyed(suite: Suite) -> Cipher:
    encr, integ = suite
    return sealer(encr, KEY[: encr.key_material_octets], integ, INTEG_KEY[: integ.key_octets] if integ else b"")


def named(keyword: str) -> Encryption:
    row = by_keyword(keyword)
    assert isinstance(row, Encryption)
    return row


def sha256() -> Integrity:
    row = by_keyword("sha256")
    assert isinstance(row, Integrity)
    return row


@pytest.mark.parametrize("case", CARRIED["aes_ctr"])
def test_aes_ctr_with_esps_counter_block(case: dict[str, str]) -> None:
    key, nonce, iv, plaintext, ciphertext = unhex(case, "key", "nonce", "iv", "plaintext", "ciphertext")
    row = encryption(13, 8 * len(key))
    assert row is not None
    cipher = sealer(row, key + nonce, sha256(), bytes(32))
    sealed = cipher.seal(iv, b"spi.seq.", plaintext)
    assert sealed[:-16] == ciphertext
    assert sealed[-16:] == hmac.digest(bytes(32), b"spi.seq." + iv + ciphertext, "sha256")[:16]
    assert cipher.open(iv, b"spi.seq.", sealed) == plaintext


@pytest.mark.parametrize("case", CARRIED["aes_cbc"])
def test_aes_cbc(case: dict[str, str]) -> None:
    key, iv, plaintext, ciphertext = unhex(case, "key", "iv", "plaintext", "ciphertext")
    cipher = sealer(named("aes128"), key, sha256(), bytes(32))
    assert cipher.seal(iv, b"", plaintext)[:-16] == ciphertext


@pytest.mark.parametrize("case", CARRIED["chacha20_poly1305"])
def test_chacha20_poly1305(case: dict[str, str]) -> None:
    key, iv, aad, plaintext, sealed = unhex(case, "key", "iv", "aad", "plaintext", "sealed")
    cipher = sealer(named("chacha20poly1305"), key)
    assert cipher.seal(iv, aad, plaintext) == sealed
    assert cipher.open(iv, aad, sealed) == plaintext


def aes_blocks(key: bytes, blocks: bytes) -> bytes:
    return OpenSslCipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=False))


def ccm(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, tag: int) -> bytes:
    """AES-CCM as RFC 3610 2.2 and 2.3 write it down, L = 15 - len(nonce), 0 < len(aad) < 0xff00."""
    length = 15 - len(nonce)
    first = bytes((64 + 8 * ((tag - 2) // 2) + length - 1,)) + nonce + len(plaintext).to_bytes(length, "big")
    authenticated = first
    for part in (len(aad).to_bytes(2, "big") + aad, plaintext):
        authenticated += part + bytes(-len(part) % 16)
    mac = bytes(16)
    for start in range(0, len(authenticated), 16):
        mac = aes_blocks(key, xor(mac, authenticated[start : start + 16]))
    counters = b"".join(
        bytes((length - 1,)) + nonce + count.to_bytes(length, "big") for count in range(len(plaintext) // 16 + 2)
    )
    stream = aes_blocks(key, counters)
    return xor(plaintext, stream[16:]) + xor(mac[:tag], stream)


def gcm(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes, tag: int) -> bytes:
    """AES-GCM with a 12-octet nonce, bit by bit (NIST SP 800-38D 6.3, 6.4, 7.1)."""

    def times(x: int, y: int) -> int:
        product = 0
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                product ^= y
            y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
        return product

    subkey = int.from_bytes(aes_blocks(key, bytes(16)), "big")
    blocks = len(plaintext) // 16 + 2
    stream = aes_blocks(key, b"".join(nonce + count.to_bytes(4, "big") for count in range(1, blocks + 1)))
    ciphertext = xor(plaintext, stream[16:])
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    hashed = aad + bytes(-len(aad) % 16) + ciphertext + bytes(-len(ciphertext) % 16) + lengths
    ghash = 0
    for start in range(0, len(hashed), 16):
        ghash = times(ghash ^ int.from_bytes(hashed[start : start + 16], "big"), subkey)
    return ciphertext + xor(ghash.to_bytes(16, "big"), stream)[:tag]


@pytest.mark.parametrize("octets", [0, 1, 16, 77])
@pytest.mark.parametrize(
    "row", [row for row in ENCRYPTIONS if "CCM" in row.name or "GCM" in row.name], ids=lambda r: r.keyword
)
def test_gcm_and_ccm_against_the_standards_in_plain_python(row: Encryption, octets: int) -> None:
    """The nonce is salt | IV, 4 + 8 octets for GCM (RFC 4106 4), 3 + 8 for CCM (RFC 4309 4)."""
    key, iv, aad, plaintext = KEY[: row.key_material_octets], b"12345678", b"spi.seq.", KEY[:octets] + bytes(octets)
    reference = ccm if "CCM" in row.name else gcm
    expected = reference(key[: row.key_octets], key[row.key_octets :] + iv, aad, plaintext, row.icv_octets)
    assert sealer(row, key).seal(iv, aad, plaintext) == expected
    assert sealer(row, key).open(iv, aad, expected) == plaintext


@pytest.mark.parametrize("integ", INTEGRITIES, ids=lambda row: row.keyword)
def test_the_mac_covers_everything_in_order(integ: Integrity) -> None:
    key = INTEG_KEY[: integ.key_octets]
    cipher = sealer(named("aes128"), KEY[:16], integ, key)
    sealed = cipher.seal(b"v" * 16, b"aad", bytes(32), b"high")
    ciphertext, icv = sealed[:32], sealed[32:]
    covered = b"aad" + b"v" * 16 + ciphertext + b"high"
    if integ.digest:
        full = hmac.new(key, covered, integ.digest).digest()
    else:
        full = (aes_xcbc if integ.keyword == "aesxcbc" else aes_cmac)(key, covered)
    assert icv == full[: integ.icv_octets]


def test_an_authentic_ciphertext_that_is_no_whole_number_of_blocks_is_refused() -> None:
    """A peer that holds the key may still send what nobody could have encrypted."""
    cipher, iv = sealer(named("aes128"), KEY[:16], sha256(), bytes(32)), bytes(16)
    for octets in (1, 15, 17, 31):
        icv = hmac.digest(bytes(32), b"aad" + iv + bytes(octets), "sha256")[:16]
        with pytest.raises(Forged):
            cipher.open(iv, b"aad", bytes(octets) + icv)
    assert cipher.open(iv, b"aad", hmac.digest(bytes(32), b"aad" + iv, "sha256")[:16]) == b""


@pytest.mark.parametrize("suite", SUITES, ids=name)
@given(data=st.data())
def test_round_trip_and_no_changed_bit_passes(suite: Suite, data: st.DataObject) -> None:
    cipher = keyed(suite)
    blocks = data.draw(st.integers(0, 20))
    plaintext = data.draw(st.binary(min_size=blocks * cipher.block_octets, max_size=blocks * cipher.block_octets))
    iv = data.draw(st.binary(min_size=cipher.iv_octets, max_size=cipher.iv_octets))
    aad = data.draw(st.binary(max_size=40))
    trailer = b"" if suite[1] is None else data.draw(st.sampled_from([b"", b"\0\0\0\1"]))
    sealed = cipher.seal(iv, aad, plaintext, trailer)
    assert len(sealed) == len(plaintext) + cipher.icv_octets
    assert cipher.open(iv, aad, sealed, trailer) == plaintext
    parts = [iv, aad, sealed, trailer]
    which = data.draw(st.sampled_from([index for index, part in enumerate(parts) if part]))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    with pytest.raises(Forged):
        cipher.open(*parts)


@pytest.mark.parametrize("suite", SUITES, ids=name)
def test_every_single_bit_of_one_message_is_protected(suite: Suite) -> None:
    cipher = keyed(suite)
    iv, aad = bytes(range(cipher.iv_octets)), b"abcdefgh"
    sealed = cipher.seal(iv, aad, bytes(16))
    whole = iv + aad + sealed
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        rest = bytes(changed[len(iv) :])
        with pytest.raises(Forged):
            cipher.open(bytes(changed[: len(iv)]), rest[:8], rest[8:])


@pytest.mark.parametrize("suite", SUITES, ids=name)
def test_cut_and_lengthened_messages_are_forged(suite: Suite) -> None:
    cipher = keyed(suite)
    iv, aad = bytes(cipher.iv_octets), b"abcdefgh"
    sealed = cipher.seal(iv, aad, bytes(32))
    for cut in range(len(sealed)):
        with pytest.raises(Forged):
            cipher.open(iv, aad, sealed[:cut])
        with pytest.raises(Forged):
            cipher.open(iv, aad, sealed[cut + 1 :])
    for longer in (sealed + b"\0", b"\0" + sealed, sealed + bytes(16)):
        with pytest.raises(Forged):
            cipher.open(iv, aad, longer)
    for wrong in (iv[:-1], b"", iv + b"\0"):
        with pytest.raises(Forged):
            cipher.open(wrong, aad, sealed)


@pytest.mark.parametrize("suite", SUITES, ids=name)
def test_another_key_or_salt_does_not_open(suite: Suite) -> None:
    encr, integ = suite
    iv = bytes(encr.iv_octets)
    sealed = keyed(suite).seal(iv, b"", bytes(32))
    key = bytearray(KEY[: encr.key_material_octets])
    key[-1] ^= 1  # the salt's last octet where there is one
    if integ is None:
        with pytest.raises(Forged):
            sealer(encr, bytes(key)).open(iv, b"", sealed)
    else:  # the MAC has its own key: a wrong cipher key opens, to rubbish
        integ_key = INTEG_KEY[: integ.key_octets]
        assert sealer(encr, bytes(key), integ, integ_key).open(iv, b"", sealed) != bytes(32)
        with pytest.raises(Forged):
            sealer(encr, KEY[: len(key)], integ, integ_key[:-1] + b"\0").open(iv, b"", sealed)


@pytest.mark.parametrize("suite", SUITES, ids=name)
def test_into_a_buffer_and_from_a_memoryview(suite: Suite) -> None:
    cipher = keyed(suite)
    iv, aad, plaintext = bytes(cipher.iv_octets), b"abcdefgh", bytes(range(48))
    sealed = cipher.seal(iv, aad, plaintext)
    room = bytearray(len(sealed) + 8)
    assert cipher.seal_into(iv, aad, memoryview(plaintext), memoryview(room)[8:]) == len(sealed)
    assert room == bytes(8) + sealed
    datagram = memoryview(aad + iv + sealed)
    opened = bytearray(48)
    body = datagram[8 + len(iv) :]
    assert cipher.open_into(datagram[8 : 8 + len(iv)], datagram[:8], body, opened) == 48
    assert opened == plaintext == cipher.open(datagram[8 : 8 + len(iv)], datagram[:8], body)
    room[8] ^= 1
    with pytest.raises(Forged):
        cipher.open_into(iv, aad, memoryview(room)[8:], bytearray(48))
    with pytest.raises(Forged):
        cipher.open_into(iv[:-2], aad, sealed, bytearray(48))
    with pytest.raises(ValueError):
        cipher.open_into(iv, aad, sealed, bytearray(47))
    with pytest.raises(ValueError):
        cipher.seal_into(iv, aad, plaintext, bytearray(len(sealed) - 1))


@pytest.mark.parametrize("suite", SUITES, ids=name)
def test_mistakes_of_the_caller_are_value_errors(suite: Suite) -> None:
    encr, integ = suite
    cipher = keyed(suite)
    iv = bytes(encr.iv_octets)
    with pytest.raises(ValueError):
        sealer(encr, KEY[: encr.key_material_octets - 1], integ, INTEG_KEY[: integ.key_octets] if integ else b"")
    if integ is None:
        with pytest.raises(ValueError, match="trailer"):
            cipher.seal(iv, b"", bytes(16), b"high")
        with pytest.raises(ValueError, match="trailer"):
            cipher.open(iv, b"", bytes(32), b"high")
        with pytest.raises(ValueError, match="takes no integrity"):
            sealer(encr, KEY[: encr.key_material_octets], sha256(), bytes(32))
    else:
        with pytest.raises(ValueError, match="needs an integrity"):
            sealer(encr, KEY[: encr.key_material_octets])
        with pytest.raises(ValueError, match="takes a key of"):
            sealer(encr, KEY[: encr.key_material_octets], integ, INTEG_KEY[: integ.key_octets + 1])
    if encr.block_octets > 1:
        with pytest.raises(ValueError, match="padded"):
            cipher.seal(iv, b"", bytes(15))
    with pytest.raises(ValueError):
        cipher.seal(iv[:-1], b"", bytes(16))


def test_a_cipher_shows_no_key_and_is_not_written_down() -> None:
    cipher = keyed(SUITES[0])
    assert KEY[:32].hex() not in repr(cipher)
    with pytest.raises(TypeError):
        pickle.dumps(cipher)
