"""The forms of passwords, scopes and API tokens, and what is asked of them."""

import hashlib
import re
import secrets
import zlib
from collections.abc import Sequence
from enum import StrEnum

from gateway.storage.fields import NAME_PATTERN
from gateway.storage.objects import FieldError, Invalid

PASSWORD_LENGTH = 12
PASSWORD_LIMIT = 1024
TOKEN_LIFETIME = 90 * 86_400.0
TOKEN_LIFETIME_LIMIT = 366 * 86_400.0
_TOKEN = re.compile(r"ikg_([a-z0-9]{8})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_OBVIOUS = (
    "password",
    "passwort",
    "qwertyuiop",
    "qwertzuiop",
    "letmein",
    "administrator",
    "changeme",
    "123456789",
    "ikegate",
)


class Scope(StrEnum):
    """What a caller may do; an administrator's session has all of them."""

    CONFIG_READ = "config:read"
    CONFIG_WRITE = "config:write"
    STATE_READ = "state:read"
    ACTIONS = "actions"
    ADMIN = "admin"


def digest(secret: str) -> str:
    """What is stored of a random secret of 256 bits: such a one needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_token() -> tuple[str, str]:
    """A token's public id and its secret part."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8)), secrets.token_urlsafe(32)


def token_text(public_id: str, secret: str) -> str:
    """`ikg_<id>_<secret>_<crc>`: scanners find the prefix, and the checksum tells a typing error from a wrong token."""
    body = f"ikg_{public_id}_{secret}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def split_token(text: str) -> tuple[str, str] | None:
    """The public id and the secret of a well-formed token."""
    match = _TOKEN.fullmatch(text)
    if match is None or text != token_text(match[1], match[2]):
        return None
    return match[1], match[2]


def check_account(name: str, password: str, pointer: str = "/password") -> None:
    """Raises Invalid when a name or a new password will not do."""
    found: list[FieldError] = []
    if not re.fullmatch(NAME_PATTERN, name):
        found.append(FieldError("/name", "invalid-name", "a name is 1 to 63 of a-z, 0-9, dot, underscore and hyphen"))
    if why := _password_fault(name, password):
        found.append(FieldError(pointer, "weak-password", why))
    if found:
        raise Invalid(found)


def _password_fault(name: str, password: str) -> str:
    if not PASSWORD_LENGTH <= len(password) <= PASSWORD_LIMIT:
        return f"a password has {PASSWORD_LENGTH} to {PASSWORD_LIMIT} characters"
    plain = password.lower()
    for obvious in (*_OBVIOUS, name.lower()):
        plain = plain.replace(obvious, "") if len(obvious) > 2 else plain
    if len(set(password)) < 5 or len(plain) < PASSWORD_LENGTH // 2:
        return "this password is easy to guess: take several words that have nothing to do with each other"
    return ""


def check_token(name: str, scopes: Sequence[Scope], lifetime: float) -> None:
    """Raises Invalid when a token cannot be made so."""
    found: list[FieldError] = []
    if not re.fullmatch(NAME_PATTERN, name):
        found.append(FieldError("/name", "invalid-name", "a name is 1 to 63 of a-z, 0-9, dot, underscore and hyphen"))
    if not scopes:
        found.append(FieldError("/scopes", "missing", "a token needs a scope"))
    if not 0 < lifetime <= TOKEN_LIFETIME_LIMIT:
        found.append(FieldError("/days", "out-of-range", "a token lasts a year at most"))
    if found:
        raise Invalid(found)
