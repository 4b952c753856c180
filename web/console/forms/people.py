"""The forms of users, of pools of addresses, and of RADIUS servers."""

from datetime import time
from typing import Any

from gateway.service.documents import as_document
from gateway.storage.objects import FieldError
from gateway.storage.people import PoolObject, RadiusObject, UserObject
from web.console.forms.fields import Errors, Typed, entries, lines, number, place, plain, typed_day, typed_moment

_USER_FIELDS = (
    (r"/(name|description|login|password|expires_at|sessions|access_profile)", r"\1"),
    (r"/(identities|groups|addresses)(/.*)?", r"\1"),
)
_POOL_FIELDS = (
    (r"/(name|description)", r"\1"),
    (r"/(networks|excluded|dns|nbns|domains|subnets|reservations)(/.*)?", r"\1"),
)
# Numbers of a RADIUS server by name, and whether each is a whole one.
_RADIUS_NUMBERS = {
    "port": True,
    "accounting_port": True,
    "timeout": False,
    "tries": True,
    "priority": True,
    "interim_interval": False,
}
_RADIUS_CHECKS = ("accounting", "dynamic", "unsigned_rejects")
_RADIUS_CHOICES = (*_RADIUS_NUMBERS, *_RADIUS_CHECKS)
_RADIUS_FIELDS = ((rf"/(name|description|address|secret|{'|'.join(_RADIUS_CHOICES)})", r"\1"),)
_DAY_END = time(23, 59, 59)
NEW_USER: Typed = {"enabled": "yes", "sessions": "0"}
_POOL_LISTS = ("networks", "excluded", "dns", "nbns", "domains", "subnets")


def typed_of_user(user: UserObject) -> Typed:
    return {
        "name": user.name,
        "description": user.description,
        "enabled": "yes" if user.enabled else "",
        "login": user.login,
        "identities": "\n".join(user.identities),
        "expires_at": typed_day(user.expires_at),
        "groups": "\n".join(user.groups),
        "addresses": "\n".join(user.addresses),
        "sessions": str(user.sessions),
        "access_profile": user.access_profile,
    }


def user_document(typed: Typed, base: UserObject | None, errors: Errors) -> dict[str, Any]:
    """The user's document; with no password typed, the stored one stays."""
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    stored = base.expires_at if base else None
    document |= {
        "description": typed.get("description", "").strip(),
        "enabled": bool(typed.get("enabled")),
        "login": typed.get("login", "").strip(),
        "identities": lines(typed.get("identities", "")),
        "expires_at": typed_moment(typed, "expires_at", errors, stored=stored, hour=_DAY_END),
        "groups": entries(typed.get("groups", "")),
        "access_profile": typed.get("access_profile", ""),
        "addresses": entries(typed.get("addresses", "")),
    }
    if (sessions := number(typed, "sessions", errors, whole=True)) is not None:
        document["sessions"] = sessions
    if password := typed.get("password", ""):
        document["password"] = password
    return document


def placed_user(found: list[FieldError]) -> Errors:
    return place(found, _USER_FIELDS)


def typed_of_pool(pool: PoolObject) -> Typed:
    typed = {name: "\n".join(getattr(pool, name)) for name in _POOL_LISTS}
    reservations = "\n".join(f"{one.address} {one.identity}" for one in pool.reservations)
    return typed | {"name": pool.name, "description": pool.description, "reservations": reservations}


def pool_document(typed: Typed, base: PoolObject | None, errors: Errors) -> dict[str, Any]:
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document["description"] = typed.get("description", "").strip()
    document |= {name: entries(typed.get(name, "")) for name in _POOL_LISTS}
    document["reservations"] = []
    for line in lines(typed.get("reservations", "")):
        address, _, identity = line.partition(" ")
        if not identity.strip():
            errors["reservations"] = "Write an address, a blank, and whose it is: 10.9.0.5 boss@example.com."
            continue
        document["reservations"].append({"address": address, "identity": identity.strip()})
    return document


def placed_pool(found: list[FieldError]) -> Errors:
    return place(found, _POOL_FIELDS)


def typed_of_radius(server: RadiusObject) -> Typed:
    typed = _typed_choices({name: getattr(server, name) for name in _RADIUS_CHOICES})
    return typed | {"name": server.name, "description": server.description, "address": server.address}


def new_radius() -> Typed:
    """What a new server begins with."""
    return _typed_choices({name: RadiusObject.model_fields[name].default for name in _RADIUS_CHOICES})


def _typed_choices(values: dict[str, Any]) -> Typed:
    numbers = {name: plain(values[name]) for name in _RADIUS_NUMBERS}
    return numbers | {name: "yes" if values[name] else "" for name in _RADIUS_CHECKS}


def radius_document(typed: Typed, base: RadiusObject | None, errors: Errors) -> dict[str, Any]:
    """The server's document; with no secret typed the stored one stays, an emptied number keeps what it had."""
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document |= {name: typed.get(name, "").strip() for name in ("description", "address")}
    document |= {name: bool(typed.get(name)) for name in _RADIUS_CHECKS}
    for name, whole in _RADIUS_NUMBERS.items():
        if (value := number(typed, name, errors, whole=whole)) is not None:
            document[name] = value
    if secret := typed.get("secret", ""):
        document["secret"] = secret
    return document


def placed_radius(found: list[FieldError]) -> Errors:
    return place(found, _RADIUS_FIELDS)
