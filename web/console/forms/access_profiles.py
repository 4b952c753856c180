"""The form of an access profile."""

from typing import Any

from gateway.service.documents import as_document
from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.objects import FieldError
from web.console.forms.fields import Errors, Typed, entries, number, place

_LISTS = ("networks", "groups", "pools", "dns", "domains", "esp_proposals", "ike_proposals")
_FIELDS = (
    (r"/(name|description|tunnel|masquerade|sessions)", r"\1"),
    (rf"/({'|'.join(_LISTS)})(/.*)?", r"\1"),
)
NEW_PROFILE: Typed = {"tunnel": "split", "sessions": "0"}


def typed_of_profile(profile: AccessProfileObject) -> Typed:
    typed = {name: "\n".join(getattr(profile, name)) for name in _LISTS}
    return typed | {
        "name": profile.name,
        "description": profile.description,
        "tunnel": profile.tunnel,
        "masquerade": "yes" if profile.masquerade else "",
        "sessions": str(profile.sessions),
    }


def profile_document(typed: Typed, base: AccessProfileObject | None, errors: Errors) -> dict[str, Any]:
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document["description"] = typed.get("description", "").strip()
    document["tunnel"] = typed.get("tunnel", "split")
    document["masquerade"] = bool(typed.get("masquerade"))
    document |= {name: entries(typed.get(name, "")) for name in _LISTS}
    if (sessions := number(typed, "sessions", errors, whole=True)) is not None:
        document["sessions"] = sessions
    return document


def placed_profile(found: list[FieldError]) -> Errors:
    return place(found, _FIELDS)
