"""The forms of shunts, blocked sources and the gateway's settings."""

import time
from typing import Any

from gateway.service.documents import as_document
from gateway.storage.objects import FieldError
from gateway.storage.rules import SettingsObject, ShuntObject
from web.console.forms import quantum
from web.console.forms.fields import Errors, Typed, entries, number, place, plain

_SHUNT_FIELDS = (
    (r"/(name|description|action|priority)", r"\1"),
    (r"/(local_selectors|remote_selectors)(/.*)?", r"\1"),
)
_BLOCK_FIELDS = ((r"/(?:blocks/[^/]+/)?network", "network"), (r"/(reason|expires_at)", r"\1"))
NEW_SHUNT: Typed = {"action": "pass", "priority": "100"}
DURATIONS = (
    ("3600", "One hour"),
    ("86400", "One day"),
    ("604800", "One week"),
    ("2592000", "30 days"),
    ("", "Until it is let in again"),
)
SETTINGS_NUMBERS = {
    "half_open_timeout": False,
    "half_open_limit": True,
    "half_open_per_source": True,
    "cookie_threshold": True,
    "cookie_lifetime": False,
    "keepalive": False,
    "retry_base": False,
    "retry_limit": False,
    "attempts_kept": True,
}


def typed_of_shunt(shunt: ShuntObject) -> Typed:
    return {
        "name": shunt.name,
        "description": shunt.description,
        "action": shunt.action,
        "local_selectors": "\n".join(shunt.local_selectors),
        "remote_selectors": "\n".join(shunt.remote_selectors),
        "priority": str(shunt.priority),
    }


def shunt_document(typed: Typed, base: ShuntObject | None, errors: Errors) -> dict[str, Any]:
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document |= {
        "description": typed.get("description", "").strip(),
        "action": typed.get("action", "pass"),
        "local_selectors": entries(typed.get("local_selectors", "")),
        "remote_selectors": entries(typed.get("remote_selectors", "")),
    }
    if (priority := number(typed, "priority", errors, whole=True)) is not None:
        document["priority"] = priority
    return document


def placed_shunt(found: list[FieldError]) -> Errors:
    return place(found, _SHUNT_FIELDS)


def block_document(typed: Typed) -> dict[str, Any]:
    """The block without its network; a time that is in no list stands for none."""
    seconds = typed.get("duration", "")
    known = seconds in {value for value, _ in DURATIONS if value}
    expires_at = float(int(time.time()) + int(seconds)) if known else None
    return {"reason": typed.get("reason", "").strip(), "expires_at": expires_at}


def placed_block(found: list[FieldError]) -> Errors:
    return place(found, _BLOCK_FIELDS)


def typed_of_settings(settings: SettingsObject) -> Typed:
    typed = {name: plain(getattr(settings, name)) for name in SETTINGS_NUMBERS}
    typed |= {"puzzles": "yes" if settings.puzzles else "", "redirect_to": settings.redirect_to}
    return typed | quantum.typed_of(settings)


def settings_document(typed: Typed, base: SettingsObject, errors: Errors) -> dict[str, Any]:
    """All settings; an emptied number keeps what it had."""
    read = {name: number(typed, name, errors, whole=whole) for name, whole in SETTINGS_NUMBERS.items()}
    return {
        **as_document(base),
        **{name: value for name, value in read.items() if value is not None},
        "puzzles": bool(typed.get("puzzles")),
        "redirect_to": typed.get("redirect_to", "").strip(),
        **quantum.demand(typed, base, errors),
    }


def placed_settings(found: list[FieldError]) -> Errors:
    return place(found, [(r"/([a-z_]+)", r"\1")])
