"""Certificates and authorities as pages show them: what they say, how long they hold, who needs them."""

from dataclasses import dataclass
from typing import Any

from gateway.service.authorities import DAY, WARNING, Facts, facts_of, is_revoked, is_withdrawn
from gateway.service.edits import used_by
from gateway.storage.identity import AuthorityObject, CertificateObject
from gateway.storage.objects import Inventory
from web.console.forms.fields import Typed
from web.console.forms.proofs import KEEP
from web.console.words import State, tunnel

METHODS = [
    ("psk", "A pre-shared key"),
    ("certificate", "A certificate"),
    ("public-key", "A key alone (raw public key)"),
]
_LOCAL_METHODS = [*METHODS, ("eap", "EAP with a certificate (EAP-TLS)")]
_REMOTE_METHODS = [*METHODS, ("eap", "EAP, as people do")]
_EAP_METHODS = [
    ("", "A password (MSCHAPv2) or a certificate (TLS), as the device can"),
    ("mschapv2", "A password (MSCHAPv2)"),
    ("tls", "A certificate (TLS)"),
    ("md5", "A password (MD5): it makes no key, and is weak"),
    ("radius", "Whatever the RADIUS servers ask for"),
]
_AS_NOW = (KEEP, "As it is now (several rounds, EAP with a password, or a scheme)")
_REMOTE_AS_NOW = (KEEP, "As it is now (several rounds or methods)")


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain: `state` is how it stands at this moment."""

    facts: Facts
    state: State
    role: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list; `users` are names and addresses of what needs it."""

    name: str
    description: str
    subject: str
    state: State
    end: float | None
    ours: bool
    users: tuple[tuple[str, str], ...]


def certificate_rows(inventory: Inventory, now: float) -> tuple[Row, ...]:
    return tuple(_certificate_row(inventory, one, now) for _, one in sorted(inventory.certificates.items()))


def _certificate_row(inventory: Inventory, one: CertificateObject, now: float) -> Row:
    facts = facts_of(one.certificate)
    return Row(
        one.name,
        one.description,
        facts[0].subject if facts else "waits for its certificate" if one.request else "a key alone",
        certificate_state(inventory, one, now),
        facts[0].not_after if facts else None,
        ("certificates", one.name) in inventory.secrets,
        users(inventory, "certificates", one.name),
    )


def authority_rows(inventory: Inventory, now: float) -> tuple[Row, ...]:
    return tuple(
        Row(
            one.name,
            one.description,
            facts_of(one.certificate)[0].subject,
            authority_state(inventory, one, now),
            facts_of(one.certificate)[0].not_after,
            ("authorities", one.name) in inventory.secrets,
            users(inventory, "authorities", one.name),
        )
        for _, one in sorted(inventory.authorities.items())
    )


def users(inventory: Inventory, kind: str, name: str) -> tuple[tuple[str, str], ...]:
    """Who needs it: names, and the addresses of their pages."""
    found = []
    for path in used_by(inventory, kind, name):
        where, _, who = path.partition("/")
        found.append((who, tunnel(who) if where == "peers" else f"/certificates/{who}"))
    return tuple(found)


def authority_state(inventory: Inventory, one: AuthorityObject, now: float) -> State:
    """How a stored authority stands."""
    return State("Revoked", "down", 4) if is_withdrawn(inventory, one) else _validity(facts_of(one.certificate)[0], now)


def certificate_state(inventory: Inventory, one: CertificateObject, now: float) -> State:
    """How a stored certificate stands."""
    facts = facts_of(one.certificate)
    if not facts:
        return State("Waits", "waiting", 1) if one.request else State("Key alone", "disabled", 0)
    return State("Revoked", "down", 4) if is_revoked(inventory, one) else _validity(facts[0], now)


def _validity(facts: Facts, now: float) -> State:
    if now < facts.not_before:
        return State("Not yet valid", "waiting", 2)
    if now >= facts.not_after:
        return State("Run out", "down", 4)
    if facts.not_after - now < WARNING:
        return State(f"{int((facts.not_after - now) // DAY)} days left", "degraded", 3)
    return State("Valid", "up", 0)


def chain_of(inventory: Inventory, thing: AuthorityObject | CertificateObject, now: float) -> tuple[Link, ...]:
    """From the root down; of a certificate, with the authorities that are stored above it."""
    facts = list(facts_of(thing.certificate))
    by_subject = {found.subject: found for one in inventory.authorities.values() for found in facts_of(one.certificate)}
    while facts and not facts[-1].is_root and (above := by_subject.get(facts[-1].issuer)) and above not in facts:
        facts.append(above)
    links = [Link(one, _validity(one, now), _role(one)) for one in facts]
    if links:
        state = (
            certificate_state(inventory, thing, now)
            if isinstance(thing, CertificateObject)
            else authority_state(inventory, thing, now)
        )
        links[0] = Link(facts[0], state, _role(facts[0]))
    return tuple(reversed(links))


def _role(facts: Facts) -> str:
    if facts.is_authority:
        return "Root authority" if facts.is_root else "Authority"
    return "Certificate"


def ours(inventory: Inventory) -> list[tuple[str, str]]:
    """A select's options: the authorities that can issue."""
    return [(name, name) for name in sorted(inventory.authorities) if ("authorities", name) in inventory.secrets]


def proof_options(inventory: Inventory, typed: Typed) -> dict[str, Any]:
    """What the tunnel's form offers for its proofs."""
    local = [*_LOCAL_METHODS, *([_AS_NOW] if typed.get("local_method") == KEEP else [])]
    remote = [*_REMOTE_METHODS, *([_REMOTE_AS_NOW] if typed.get("remote_method") == KEEP else [])]
    held = [(name, name) for name in sorted(inventory.certificates) if ("certificates", name) in inventory.secrets]
    return {
        "local_methods": local,
        "remote_methods": remote,
        "eap_methods": _EAP_METHODS,
        "certificate_options": held or [("", "none is stored yet")],
        "authority_options": [
            ("", "any authority that is stored"),
            *((one, one) for one in sorted(inventory.authorities)),
        ],
    }
