"""The tunnel's form: from a peer to typed text, and from typed text to the peer's document."""

import re
from collections.abc import Iterable
from typing import Any, get_args

from gateway.service.documents import as_document
from gateway.service.seeds import PRESETS
from gateway.storage.compiling.peers import compile_peer, compile_proposal
from gateway.storage.compiling.post_quantum import check_peer
from gateway.storage.compiling.trust import Trust
from gateway.storage.findings import Findings
from gateway.storage.identity import LocalAuthFields, RemoteAuthFields
from gateway.storage.objects import FieldError, Inventory
from gateway.storage.peers import ChildObject, PeerObject, PskObject, RetransmitFields
from web.console.forms import advanced, proofs, quantum
from web.console.forms.fields import KEY_NEEDED, Errors, Typed, entries, number, place, plain

_CHILD_KEY = re.compile(r"child-([0-9]{1,3})-local")
MOST_CHILDREN = 100
CUSTOM = "custom"
_CHILD_FIELDS = {
    "name": "name",
    "local_selectors": "local",
    "remote_selectors": "remote",
    "start": "start",
    **{name: name for name in advanced.CHILD_FIELDS},
}
_PEER_FIELDS = (
    (r"/name", "name"),
    (r"/description", "description"),
    (r"/remote_addresses(/.*)?", "address"),
    (r"/(remote_id|local_id|remote_port|dpd_delay|rekey_time|unique|force_encapsulation)", r"\1"),
    (r"/local_addresses(/.*)?", "local_addresses"),
    (r"/retransmit/(tries|base|factor)", r"\1"),
    (r"/ike_proposals(/.*)?", "ike"),
    (r"/children/[0-9]+/esp_proposals(/.*)?", "esp"),
    (r"/children/[0-9]+/rekey_time", "child_rekey_time"),
    (r"/(post_quantum|post_quantum_from)", r"\1"),
    (rf"/({'|'.join(advanced.PEER_FIELDS)})(/.*)?", r"\1"),
    *proofs.FIELDS,
)
NEW: Typed = {
    "side": "address",
    "key": "new",
    "policy": PRESETS[0].name,
    "ike": PRESETS[0].ike,
    "esp": PRESETS[0].esp,
    "post_quantum": "default",
    "child-0-name": "net",
    "child-0-start": "always",
    **advanced.NEW_PEER,
    **proofs.NEW,
    **advanced.new_child("child-0-"),
}


def child_numbers(typed: Typed) -> list[int]:
    """The numbers of the network blocks on the form, in order; never none."""
    found = sorted(int(match[1]) for key in typed if (match := _CHILD_KEY.fullmatch(key)))
    return found[:MOST_CHILDREN] or [0]


def with_another_child(typed: Typed) -> Typed:
    """The form with one more block, empty but for what a block begins with."""
    numbers = child_numbers(typed)
    at = f"child-{numbers[-1] + 1}-"
    if len(numbers) >= MOST_CHILDREN or numbers[-1] >= 998:
        return typed
    names = {typed.get(f"child-{n}-name", "") for n in numbers}
    free = next(name for n in range(2, MOST_CHILDREN + 3) if (name := f"net{n}") not in names)
    block = {at + "name": free, at + "local": "", at + "remote": "", at + "start": "always"}
    return {**typed, **block, **advanced.new_child(at)}


def without_child(typed: Typed, dropped: str) -> Typed:
    return {key: text for key, text in typed.items() if not key.startswith(f"child-{dropped}-")}


def typed_of(peer: PeerObject) -> Typed:
    """What the settings form shows of a peer."""
    typed: Typed = {
        "name": peer.name,
        "description": peer.description,
        "enabled": "yes" if peer.enabled else "",
        "side": "address" if peer.remote_addresses else "calls",
        "address": ", ".join(peer.remote_addresses),
        "remote_id": peer.remote_id,
        "local_id": peer.local_id or "",
        "ike": ",".join(peer.ike_proposals),
        "esp": _common(",".join(child.esp_proposals) for child in peer.children),
        "remote_port": str(peer.remote_port),
        "local_addresses": ", ".join(peer.local_addresses),
        "dpd_delay": plain(peer.dpd_delay),
        "rekey_time": plain(peer.rekey_time),
        "child_rekey_time": _common(plain(child.rekey_time) for child in peer.children),
        "tries": str(peer.retransmit.tries),
        "base": plain(peer.retransmit.base),
        "factor": plain(peer.retransmit.factor),
        "unique": peer.unique,
        "force_encapsulation": "yes" if peer.force_encapsulation else "",
        **quantum.typed_of(peer),
        **advanced.typed_of_peer(peer),
        **proofs.typed_of(peer),
    }
    typed["policy"] = policy_of(typed["ike"], typed["esp"])
    for index, child in enumerate(peer.children):
        at = f"child-{index}-"
        typed |= {
            at + "was": child.name,
            at + "name": child.name,
            at + "local": "\n".join(child.local_selectors),
            at + "remote": "\n".join(child.remote_selectors),
            at + "start": child.start,
            **advanced.typed_of_child(child, at),
        }
    return typed


def policy_of(ike: str, esp: str) -> str:
    """The policy that these proposals make; `custom` for none of ours."""
    return next((one.name for one in PRESETS if (one.ike, one.esp) == (ike, esp)), CUSTOM)


def with_policy(typed: Typed) -> Typed:
    """What was typed, with the proposals of the policy that was chosen, unless that is a custom one."""
    chosen = next((one for one in PRESETS if one.name == typed.get("policy")), None)
    return {**typed, "ike": chosen.ike, "esp": chosen.esp} if chosen else typed


def policy_options(inventory: Inventory) -> list[tuple[str, str]]:
    """The policies whose proposals are there, each with what it offers, and the custom one."""
    there = [one for one in PRESETS if {one.ike, one.esp} <= inventory.proposals.keys()]
    return [*((one.name, f"{one.label}: {one.offers}") for one in there), (CUSTOM, "Custom: proposals of your choice")]


def _common(texts: Iterable[str]) -> str:
    """The text that all have, or nothing."""
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def document_of(typed: Typed, base: PeerObject | None, errors: Errors) -> dict[str, Any]:
    """The peer's document; what the form does not ask stays as it is in `base`."""
    typed = with_policy(typed)
    calls = typed.get("side") == "calls"
    addresses = [] if calls else entries(typed.get("address", ""))
    if not calls and not addresses:
        errors["address"] = "Write the other side's address, or choose that it calls us."
    document: dict[str, Any] = as_document(base) if base else {}
    document |= {
        "description": typed.get("description", "").strip(),
        "remote_addresses": addresses,
        "remote_id": _remote_id(typed, addresses, errors),
        "local_id": typed.get("local_id", "").strip() or None,
        "children": [_child(typed, number, base, errors) for number in child_numbers(typed)],
    }
    document |= quantum.demand(typed, base, errors)
    if chosen := typed.get("ike"):
        document["ike_proposals"] = chosen.split(",")
    document |= _settings(typed, errors) | advanced.peer_options(typed, errors)
    document |= proofs.document_of(typed, base)
    retransmit = _numbers(typed, errors, {"tries": True, "base": False, "factor": False})
    document["retransmit"] = (as_document(base.retransmit) if base else {}) | retransmit
    _spread_rekey_time(typed, document, errors)
    if base is None:
        document["name"] = typed.get("name", "").strip()
    else:
        document["enabled"] = bool(typed.get("enabled"))
    return document


def _remote_id(typed: Typed, addresses: list[str], errors: Errors) -> str:
    """Whom we accept; without a word of it the other side is named by its address."""
    identity = typed.get("remote_id", "").strip()
    if identity:
        return identity
    single = [address for address in addresses if "/" not in address]
    if single:
        return single[0]
    if "address" not in errors:
        errors["remote_id"] = "Say who it is: without an address of its own, its identity is all that we know it by."
    return "%any"


def _child(typed: Typed, at: int, base: PeerObject | None, errors: Errors) -> dict[str, Any]:
    def value(name: str) -> str:
        return typed.get(f"child-{at}-{name}", "").strip()

    before: ChildObject | None = base.child(value("was")) if base else None
    document = as_document(before) if before else {}
    document |= {
        "name": value("name"),
        "local_selectors": entries(value("local")),
        "remote_selectors": entries(value("remote")),
        "start": value("start") or "always",
        **advanced.child_options(typed, f"child-{at}-", errors),
    }
    if chosen := typed.get("esp"):
        document["esp_proposals"] = chosen.split(",")
    return document


def _settings(typed: Typed, errors: Errors) -> dict[str, Any]:
    return {
        "force_encapsulation": bool(typed.get("force_encapsulation")),
        "unique": typed.get("unique", "replace"),
        "local_addresses": entries(typed.get("local_addresses", "")),
        **_numbers(typed, errors, {"remote_port": True, "dpd_delay": False, "rekey_time": False}),
    }


def _numbers(typed: Typed, errors: Errors, names: dict[str, bool]) -> dict[str, Any]:
    """The numbers that were typed; an emptied field keeps what it had."""
    read = {name: number(typed, name, errors, whole=whole) for name, whole in names.items()}
    return {name: value for name, value in read.items() if value is not None}


def _spread_rekey_time(typed: Typed, document: dict[str, Any], errors: Errors) -> None:
    """One field for the rekey time of all children; left empty, each keeps its own."""
    rekey_time = number(typed, "child_rekey_time", errors)
    if rekey_time is not None:
        for child in document["children"]:
            child["rekey_time"] = rekey_time


def new_document(typed: Typed, psk_name: str, stored: PskObject | None, errors: Errors) -> dict[str, Any]:
    """A document with the new peer and its key, if it needs one, to be applied at once."""
    peer = document_of(typed, None, errors)
    keys = [_key(typed, peer, psk_name, stored, errors)] if proofs.needs_key(typed) else []
    return {"apiVersion": "ikegate/v1", "peers": [peer], "psks": keys}


def _key(typed: Typed, peer: dict[str, Any], name: str, stored: PskObject | None, errors: Errors) -> dict[str, Any]:
    ours = [peer["local_id"]] if peer["local_id"] else []
    theirs = [peer["remote_id"]] if peer["remote_id"] != "%any" else []
    if stored is not None:
        document = as_document(stored)
        document["remote_ids"] = _joined(document["remote_ids"], theirs)
        document["local_ids"] = _joined(document["local_ids"], ours)
        return document
    secret = typed.get("secret", "")
    if not secret.strip():
        errors["secret"] = KEY_NEEDED
    return {"name": name, "secret": secret.strip(), "local_ids": ours, "remote_ids": theirs}


def _joined(known: list[str], more: list[str]) -> list[str]:
    """A list of identities with more added; an empty one fits anybody already."""
    return [*known, *(one for one in more if one not in known)] if known else known


def second_look(document: dict[str, Any], inventory: Inventory, root: str = "") -> list[FieldError]:
    """What else is wrong with a peer whose form is refused already, so that a person hears everything at once."""
    rounds = {"local_auth": (LocalAuthFields(),), "remote_auth": (RemoteAuthFields(),)}
    demand = {"post_quantum": "default", "post_quantum_from": None}
    harmless = {"retransmit": RetransmitFields(), "unique": "replace", **rounds, **demand}
    children = tuple(ChildObject.model_construct(**{**child, **_choices(child)}) for child in document["children"])
    peer = PeerObject.model_construct(**{**document, **harmless, "children": children})
    suites = {
        name: (proposal.protocol, compile_proposal(proposal, "", Findings()))
        for name, proposal in inventory.proposals.items()
    }
    found = Findings()
    compile_peer(peer, suites, Trust({}, {}, frozenset()), None, root, found)
    check_peer(inventory, peer, root, found)
    return found.errors


def _choices(child: dict[str, Any]) -> dict[str, str]:
    """What was chosen from lists; another in the place of what is in none."""
    harmless = {"start": "passive", "mode": "tunnel", "when_down": "drop", "offload": "none"}
    lists = {name: get_args(ChildObject.model_fields[name].annotation) for name in harmless}
    return {name: child[name] if child.get(name) in lists[name] else other for name, other in harmless.items()}


def placed(found: list[FieldError], typed: Typed, *, root: str = "") -> Errors:
    """The configuration's mistakes beside the fields; `root` is where the peer stands in the document."""
    fields = [(root + pattern, name) for pattern, name in _PEER_FIELDS]
    for index, at in enumerate(child_numbers(typed)):
        fields += [
            (rf"{root}/children/{index}/{key}(/.*)?", f"child-{at}-{name}") for key, name in _CHILD_FIELDS.items()
        ]
    fields += [(r"/psks/0/secret", "secret"), (r"/psks/0/name", "name"), (r"/psks/0/remote_ids(/.*)?", "remote_id")]
    fields += [(r"/psks/0/local_ids(/.*)?", "local_id")]
    return place(found, fields)
