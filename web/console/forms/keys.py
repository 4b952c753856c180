"""The forms of pre-shared keys, post-quantum ones, and proposals."""

from typing import Any

from gateway.service.documents import as_document
from gateway.storage.objects import FieldError
from gateway.storage.peers import ProposalObject, PskObject
from gateway.storage.post_quantum import PpkObject
from web.console.forms.fields import KEY_NEEDED, Errors, Typed, lines, place

_PSK_FIELDS = (
    (r"/(name|description|secret)", r"\1"),
    (r"/(local_ids|remote_ids)(/.*)?", r"\1"),
)
_PPK_FIELDS = ((r"/(name|description|identity|secret)", r"\1"),)
_PROPOSAL_FIELDS = (
    (r"/(name|description|protocol)", r"\1"),
    (r"/suites(/.*)?", "suites"),
)


def typed_of_psk(psk: PskObject) -> Typed:
    return {
        "name": psk.name,
        "description": psk.description,
        "local_ids": "\n".join(psk.local_ids),
        "remote_ids": "\n".join(psk.remote_ids),
    }


def psk_document(typed: Typed, base: PskObject | None, errors: Errors) -> dict[str, Any]:
    """The key's document; with a base and no secret typed, the stored secret stays."""
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document |= {
        "description": typed.get("description", "").strip(),
        "local_ids": lines(typed.get("local_ids", "")),
        "remote_ids": lines(typed.get("remote_ids", "")),
    }
    return document | _secret(typed, base, errors)


def _secret(typed: Typed, base: PskObject | PpkObject | None, errors: Errors) -> dict[str, str]:
    if secret := typed.get("secret", "").strip():
        return {"secret": secret}
    if base is None:
        errors["secret"] = KEY_NEEDED
    return {}


def placed_psk(found: list[FieldError]) -> Errors:
    return place(found, _PSK_FIELDS)


def typed_of_ppk(ppk: PpkObject) -> Typed:
    return {"name": ppk.name, "description": ppk.description, "identity": ppk.identity}


def ppk_document(typed: Typed, base: PpkObject | None, errors: Errors) -> dict[str, Any]:
    """The key's document; with a base and no secret typed, the stored secret stays."""
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    document |= {name: typed.get(name, "").strip() for name in ("description", "identity")}
    return document | _secret(typed, base, errors)


def placed_ppk(found: list[FieldError]) -> Errors:
    return place(found, _PPK_FIELDS)


def typed_of_proposal(proposal: ProposalObject) -> Typed:
    return {
        "name": proposal.name,
        "description": proposal.description,
        "protocol": proposal.protocol,
        "suites": "\n".join(proposal.suites),
    }


def proposal_document(typed: Typed, base: ProposalObject | None, errors: Errors) -> dict[str, Any]:
    document: dict[str, Any] = as_document(base) if base else {"name": typed.get("name", "").strip()}
    return document | {
        "description": typed.get("description", "").strip(),
        "protocol": typed.get("protocol", "ike"),
        "suites": lines(typed.get("suites", "")),
    }


def placed_proposal(found: list[FieldError]) -> Errors:
    return place(found, _PROPOSAL_FIELDS)
