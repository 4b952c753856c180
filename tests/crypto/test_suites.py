"""The algorithm table: rows are found, agree with the registry, and their lengths fit together."""

import pytest

from gateway.crypto import suites
from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, KEY_EXCHANGES, PRFS, Algorithm, Status, by_keyword
from gateway.wire.numbers import Encr, Integ, KeMethod, Prf

ROWS: tuple[Algorithm, ...] = (*ENCRYPTIONS, *INTEGRITIES, *PRFS, *KEY_EXCHANGES)


def test_every_row_is_found_by_number_and_by_keyword() -> None:
    assert all(suites.encryption(row.number, row.key_bits) is row for row in ENCRYPTIONS)
    assert all(suites.integrity(row.number) is row for row in INTEGRITIES)
    assert all(suites.pseudo_random(row.number) is row for row in PRFS)
    assert all(suites.key_exchange(row.number) is row for row in KEY_EXCHANGES)
    assert all(by_keyword(row.keyword) is row and by_keyword(row.keyword.upper()) is row for row in ROWS)
    assert len({row.keyword for row in ROWS}) == len(ROWS)
    assert len({row.label for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("alias", "keyword"),
    [
        ("aes256gcm", "aes256gcm16"),
        ("aes128gcm64", "aes128gcm8"),
        ("aes192ccm96", "aes192ccm12"),
        ("sha2_256", "sha256"),
        ("sha", "sha1"),
        ("curve25519", "x25519"),
    ],
)
def test_strongswans_other_spellings(alias: str, keyword: str) -> None:
    assert by_keyword(alias) is by_keyword(keyword) is not None


def test_what_is_not_in_the_table_is_none() -> None:
    assert suites.encryption(20, 100) is None
    assert suites.encryption(20, None) is None  # AES without a Key Length attribute is no AES (RFC 7296 3.3.5)
    assert suites.encryption(28, 256) is None  # RFC 7634 4: no Key Length attribute
    assert suites.encryption(28, None) is suites.encryption(28, 0) is not None
    assert [suites.integrity(0), suites.pseudo_random(1), suites.key_exchange(2)] == [None, None, None]
    assert by_keyword("des") is by_keyword("") is None


def test_names_are_the_registrys() -> None:
    assert all(Encr(row.number).name == row.name for row in ENCRYPTIONS)
    assert all(Integ(row.number).name == row.name for row in INTEGRITIES)
    assert all(Prf(row.number).name == row.name for row in PRFS)
    assert all(KeMethod(row.number).name == row.name for row in KEY_EXCHANGES)


def test_weak_rows() -> None:
    assert {row.keyword for row in ROWS if row.weak} == {
        "sha1",
        "prfsha1",
        "aes128gcm8",
        "aes192gcm8",
        "aes256gcm8",
    }


def test_what_the_rfcs_demand() -> None:
    """RFC 8247 2.1-2.4 and RFC 8221 5-6."""
    assert {r.keyword for r in ENCRYPTIONS if r.ike_status is Status.MUST} == {"aes128", "aes256"}
    assert {r.keyword for r in ENCRYPTIONS if r.esp_status is Status.MUST} == {
        "aes128",
        "aes256",
        "aes128gcm16",
        "aes256gcm16",
    }
    assert {r.keyword for r in PRFS if r.status is Status.MUST} == {"prfsha256"}
    assert {r.keyword for r in INTEGRITIES if r.ike_status is Status.MUST} == {"sha256"}
    assert {r.keyword for r in KEY_EXCHANGES if r.status is Status.MUST} == {"modp2048"}
    assert all(r.ike_status is r.esp_status is Status.MAY for r in ENCRYPTIONS if r.key_bits == 192)


def test_lengths_follow_from_each_other() -> None:
    for row in ENCRYPTIONS:
        assert row.key_material_octets == row.key_octets + row.salt_octets
        assert row.aead == (row.icv_octets > 0)
        assert row.key_bits in (0, 8 * row.key_octets)
        # The counter modes' nonce and IV make the block less its counter; CBC's IV is a block.
        assert row.salt_octets + row.iv_octets == (16 if row.iv_random else 11 if "CCM" in row.name else 12)
    for integ in INTEGRITIES:
        assert integ.kernel_truncation_bits == 8 * integ.icv_octets <= 8 * integ.key_octets
    for prf in PRFS:
        assert prf.key_octets == prf.output_octets == len(prf.compute(b"key", b"data"))
    for method in KEY_EXCHANGES:
        assert method.kem or method.public_octets == method.answer_octets
