"""Secrets at rest: what opens them, what does not, and where the key comes from."""

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.storage.access_models import KeyRow
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets
from gateway.storage.secrets import KekUnusable, Place, SecretBox, SecretUnreadable, find_kek, generate_kek

KEK = bytes(range(32))
PLACE = Place("psks", "secret", "7")


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_place(secret: bytes, row: str) -> None:
    box = SecretBox(KEK)
    place = Place("psks", "secret", row)
    assert SecretBox(KEK).open(box.seal(secret, place), place) == secret


@pytest.mark.parametrize(
    "elsewhere", [Place("psks", "secret", "8"), Place("psks", "other", "7"), Place("other", "secret", "7")]
)
def test_a_secret_opens_nowhere_else(elsewhere: Place) -> None:
    box = SecretBox(KEK)
    with pytest.raises(SecretUnreadable):
        box.open(box.seal(b"key", PLACE), elsewhere)


def test_the_same_secret_is_never_sealed_alike() -> None:
    box = SecretBox(KEK)
    assert len({box.seal(b"key", PLACE) for _ in range(100)}) == 100


def test_what_is_derived_is_the_same_again_and_another_for_each_purpose_and_key() -> None:
    first, second = SecretBox(KEK), SecretBox(KEK[::-1])
    assert first.derived("one") == SecretBox(KEK).derived("one")
    found = {box.derived(purpose) for box in (first, second) for purpose in ("one", "two", "")}
    assert {len(octets) for octets in found} == {32}
    assert len(found) == 6
    assert KEK not in found


def test_every_altered_octet_is_noticed() -> None:
    box = SecretBox(KEK)
    version, key_id, nonce, body = box.seal(b"a secret", PLACE).split(".")
    for part in (2, 3):
        octets = bytearray(base64.urlsafe_b64decode([version, key_id, nonce, body][part] + "=="))
        for index in range(len(octets)):
            octets[index] ^= 1
            parts = [version, key_id, nonce, body]
            parts[part] = base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
            with pytest.raises(SecretUnreadable):
                box.open(".".join(parts), PLACE)
            octets[index] ^= 1


@pytest.mark.parametrize("text", ["", "v1", "v1.a.b", "v1.a.b.c.d", "v2.x.y.z", "not sealed at all"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SecretUnreadable):
        SecretBox(KEK).open(text, PLACE)


def test_the_box_shows_no_key() -> None:
    box = SecretBox(KEK)
    assert KEK.hex() not in repr(box)
    assert box.key_id != SecretBox(bytes(32)).key_id
    assert box.key_id not in KEK.hex()


@pytest.mark.parametrize(
    "content",
    [
        KEK,
        KEK.hex().encode(),
        KEK.hex().upper().encode() + b"\n",
        base64.b64encode(KEK) + b"\n",
        b" " + KEK.hex().encode(),
    ],
)
def test_a_key_file_may_have_three_forms(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    found = find_kek(tmp_path, tmp_path / "key", {})
    assert found is not None
    assert found.octets == KEK


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, KEK.hex().encode()[:-2], b"g" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(KekUnusable, match="openssl rand -hex 32"):
        find_kek(tmp_path, tmp_path / "key", {})


def test_a_named_key_file_must_be_there(tmp_path: Path) -> None:
    generate_kek(tmp_path)
    with pytest.raises(KekUnusable, match="No such file"):
        find_kek(tmp_path, tmp_path / "missing", {})


def test_the_order_of_sources(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert find_kek(tmp_path, None, environment) is None
    generated = generate_kek(tmp_path)
    assert find_kek(tmp_path, None, environment) == generated
    named = tmp_path / "named"
    named.write_bytes(bytes(32))
    found = find_kek(tmp_path, named, environment)
    assert found is not None
    assert found.octets == bytes(32)
    (credentials / "ikegate-kek").write_bytes(KEK)
    found = find_kek(tmp_path, named, environment)
    assert found is not None
    assert found.octets == KEK


def test_a_generated_key_is_for_the_owner_and_never_overwritten(tmp_path: Path) -> None:
    first = generate_kek(tmp_path)
    assert stat.S_IMODE((tmp_path / "kek").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        generate_kek(tmp_path)
    assert find_kek(tmp_path, None, {}) == first


def test_the_same_key_opens_the_database_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "config.db")
    sealed = open_secrets(database, tmp_path, 0.0, environment={}).seal(b"x", PLACE)
    assert open_secrets(database, tmp_path, 1.0, environment={}).open(sealed, PLACE) == b"x"
    database.close()


def test_a_wrong_key_is_told_at_start_and_nothing_changes(tmp_path: Path) -> None:
    database = Database(tmp_path / "config.db")
    open_secrets(database, tmp_path, 0.0, environment={})
    (tmp_path / "other").write_bytes(KEK)
    with pytest.raises(KekUnusable, match=r"other \(key .*is not the one.*Nothing was changed"):
        open_secrets(database, tmp_path, 0.0, tmp_path / "other", {})
    with database.read() as session:
        assert session.query(KeyRow).count() == 1
    open_secrets(database, tmp_path, 0.0, environment={})
    database.close()


def test_a_lost_key_is_told_and_no_new_one_is_made(tmp_path: Path) -> None:
    database = Database(tmp_path / "config.db")
    open_secrets(database, tmp_path, 0.0, environment={})
    (tmp_path / "kek").unlink()
    with pytest.raises(KekUnusable, match=r"missing.*Put it back"):
        open_secrets(database, tmp_path, 0.0, environment={})
    assert not (tmp_path / "kek").exists()
    database.close()
