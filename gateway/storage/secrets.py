"""Secrets at rest: AES-256-GCM under a key-encryption key that never lies in the database."""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEK_OCTETS = 32
NONCE_OCTETS = 12  # NIST SP 800-38D 8.2.2: random, 96 bits
CREDENTIAL = "ikegate-kek"
_VERSION = "v1"


class KekUnusable(Exception):
    """The key-encryption key is missing, malformed or wrong; the message says where it came from and what to do."""


class SecretUnreadable(Exception):
    """A sealed value does not open: it was altered, moved to another row, or sealed under another key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret lies; it is bound to this place and opens nowhere else."""

    table: str
    column: str
    row: str

    @property
    def associated_data(self) -> bytes:
        return f"{self.table}|{self.column}|{self.row}".encode()


class SecretBox:
    """Seals and opens values as `v1.<key id>.<nonce>.<ciphertext>`; each table and column has its own derived key."""

    def __init__(self, kek: bytes) -> None:
        if len(kek) != KEK_OCTETS:
            raise ValueError(f"a key-encryption key has {KEK_OCTETS} octets")
        self._kek = kek
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self.key_id = self._derive(b"key id")[:4].hex()

    def __repr__(self) -> str:
        return f"SecretBox(key_id={self.key_id!r})"

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(hashes.SHA256(), KEK_OCTETS, salt=None, info=b"ikegate|v1|" + purpose).derive(self._kek)

    def derived(self, purpose: str) -> bytes:
        """32 octets of the key for one purpose: the same after a restart, though they are written nowhere."""
        return self._derive(b"derived|" + purpose.encode())

    def _cipher(self, place: Place) -> AESGCM:
        purpose = (place.table, place.column)
        cipher = self._ciphers.get(purpose)
        if cipher is None:
            cipher = self._ciphers[purpose] = AESGCM(self._derive(f"{place.table}|{place.column}".encode()))
        return cipher

    def seal(self, secret: bytes, place: Place) -> str:
        nonce = secrets.token_bytes(NONCE_OCTETS)
        sealed = self._cipher(place).encrypt(nonce, secret, place.associated_data)
        return ".".join((_VERSION, self.key_id, _text(nonce), _text(sealed)))

    def open(self, sealed: str, place: Place) -> bytes:
        """Raises SecretUnreadable."""
        where = f"{place.table}.{place.column} of row {place.row}"
        try:
            version, key_id, nonce, body = sealed.split(".")
            octets, ciphertext = _octets(nonce), _octets(body)
        except (ValueError, binascii.Error):
            raise SecretUnreadable(f"{where} holds no sealed value") from None
        if version != _VERSION or key_id != self.key_id:
            raise SecretUnreadable(f"{where} is sealed under key {key_id} ({version}), not under ours, {self.key_id}")
        try:
            return self._cipher(place).decrypt(octets, ciphertext, place.associated_data)
        except (InvalidTag, ValueError):
            raise SecretUnreadable(f"{where} was altered, or belongs to another row") from None


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True, slots=True)
class Kek:
    """A key-encryption key and where it came from, for people."""

    octets: bytes = field(repr=False)
    source: str


def find_kek(data: Path, kek_file: Path | None = None, environment: Mapping[str, str] | None = None) -> Kek | None:
    """The systemd credential, else the named file, else the file beside the data; None when none is there yet.

    Raises KekUnusable when a named source is missing, unreadable or holds no key.
    """
    source = os.environ if environment is None else environment
    credentials = source.get("CREDENTIALS_DIRECTORY")
    if credentials and (path := Path(credentials) / CREDENTIAL).exists():
        return _read(path, f"the systemd credential {CREDENTIAL}")
    if kek_file is not None:
        return _read(kek_file, f"the file {kek_file}")
    path = generated_kek_path(data)
    return _read(path, f"the generated file {path}") if path.exists() else None


def generated_kek_path(data: Path) -> Path:
    return data / "kek"


def generate_kek(data: Path) -> Kek:
    """Write a new key beside the data, readable by the owner only; never overwrites one."""
    path = generated_kek_path(data)
    kek = secrets.token_bytes(KEK_OCTETS)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(kek.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Kek(kek, f"the generated file {path}")


def _read(path: Path, source: str) -> Kek:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KekUnusable(f"The key-encryption key cannot be read from {source}: {error.strerror}.") from None
    kek = _decode(content)
    if kek is None:
        raise KekUnusable(
            f"{source[0].upper()}{source[1:]} holds no key-encryption key: it must be 32 octets, plain, in hexadecimal "
            "or in base64; `openssl rand -hex 32` makes one."
        )
    return Kek(kek, source)


def _decode(content: bytes) -> bytes | None:
    if len(content) == KEK_OCTETS:
        return content
    text = content.strip()
    if re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text.decode())
    if re.fullmatch(rb"[A-Za-z0-9+/]{43}=", text):
        return base64.b64decode(text)
    return None
