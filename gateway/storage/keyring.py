"""The right key for a database: found or made at first start, and checked before anything is read or written."""

from collections.abc import Mapping
from pathlib import Path

from gateway.storage.access_models import KeyRow
from gateway.storage.database import Database
from gateway.storage.repositories import add_key, known_key
from gateway.storage.secrets import (
    CREDENTIAL,
    KekUnusable,
    Place,
    SecretBox,
    SecretUnreadable,
    find_kek,
    generate_kek,
    generated_kek_path,
)

_KNOWN_TEXT = b"ikegate keyring"


def open_secrets(
    database: Database,
    data: Path,
    now: float,
    kek_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> SecretBox:
    """The box that opens this database's secrets. Raises KekUnusable, and then nothing was written.

    The key comes from the systemd credential, `kek_file` or `<data>/kek`; only a database that never had a key gets a
    newly made one.
    """
    kek = find_kek(data, kek_file, environment)
    with database.read() as session:
        known = known_key(session)
    if kek is None:
        if known is not None:
            raise KekUnusable(
                f"The key-encryption key is missing: the secrets in {database.path} are sealed under key {known.key_id}"
                f", which came from {known.source}. Put it back as {generated_kek_path(data)}, name it in "
                f"IKEGATE_KEK_FILE, or give it as the systemd credential {CREDENTIAL}."
            )
        kek = generate_kek(data)
    box = SecretBox(kek.octets)
    if known is not None:
        _check(box, known, kek.source, database.path)
        return box
    place = Place("keyring", "sealed", box.key_id)
    with database.write() as session:
        add_key(
            session,
            KeyRow(key_id=box.key_id, created_at=now, source=kek.source, sealed=box.seal(_KNOWN_TEXT, place)),
        )
    return box


def _check(box: SecretBox, known: KeyRow, source: str, path: Path) -> None:
    try:
        opened = box.open(known.sealed, Place("keyring", "sealed", known.key_id))
    except SecretUnreadable:
        opened = b""
    if opened != _KNOWN_TEXT:
        raise KekUnusable(
            f"The key-encryption key from {source} (key {box.key_id}) is not the one that the secrets in {path} are "
            f"sealed under (key {known.key_id}, from {known.source}). Nothing was changed: start with the right key."
        )
