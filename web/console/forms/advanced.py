"""What stands under `Advanced` on a tunnel's form, for its networks and for itself.

A part of the form that was not sent (it has no `advanced` field) says nothing: what was configured stays.
"""

from typing import Any

from gateway.storage.peers import ChildObject, PeerObject
from web.console.forms.fields import Errors, Typed, entries, number, plain

# Fields by name; of a number, whether it is a whole one.
_CHILD_CHOICES = ("mode", "when_down", "offload")
_CHILD_NUMBERS = {
    "interface_id": True,
    "mss": True,
    "rekey_octets": True,
    "rekey_packets": True,
    "idle_timeout": False,
}
_CHILD_CHECKS = ("single_pair", "copy_dscp", "copy_df")
CHILD_FIELDS = (*_CHILD_CHOICES, *_CHILD_NUMBERS, *_CHILD_CHECKS, "interface", "mark", "replay_window", "groups")
_PEER_CHECKS = ("mobike", "redirect", "resumption", "childless", "virtual_ip", "ppk_required")
_PEER_NUMBERS = {"reauth_time": False, "dscp": True}
_PEER_LISTS = ("pools", "ppks")
_PEER_CHOICES = ("ppk_exchange",)
PEER_FIELDS = (*_PEER_CHECKS, *_PEER_NUMBERS, *_PEER_LISTS, *_PEER_CHOICES, "fragment_octets", "redirect_to")
NEW_PEER: Typed = {"advanced": "yes", "mobike": "yes", "redirect": "yes", "resumption": "yes"}
_NEW_CHILD: Typed = {"advanced": "yes", "copy_df": "yes"}


def new_child(at: str) -> Typed:
    """What a block begins with; `at` is what its fields' names begin with."""
    return {at + name: text for name, text in _NEW_CHILD.items()}


def typed_of_child(child: ChildObject, at: str) -> Typed:
    """A number that stands for none shows as nothing."""
    typed = {name: getattr(child, name) for name in _CHILD_CHOICES}
    typed |= {name: plain(value) if (value := getattr(child, name)) else "" for name in _CHILD_NUMBERS}
    typed |= {name: "yes" if getattr(child, name) else "" for name in _CHILD_CHECKS}
    typed |= {
        "interface": child.interface,
        "mark": child.mark or "",
        "replay_window": str(child.replay_window),
        "groups": ", ".join(child.groups),
        "advanced": "yes",
    }
    return {at + name: text for name, text in typed.items()}


def child_options(typed: Typed, at: str, errors: Errors) -> dict[str, Any]:
    """The options of one block of networks for its document."""
    if not typed.get(at + "advanced"):
        return {}
    options: dict[str, Any] = {name: text for name in _CHILD_CHOICES if (text := typed.get(at + name))}
    options |= {name: _none_is_zero(typed, at + name, errors, whole) for name, whole in _CHILD_NUMBERS.items()}
    options |= {name: bool(typed.get(at + name)) for name in _CHILD_CHECKS}
    options["interface"] = typed.get(at + "interface", "").strip()
    options["mark"] = typed.get(at + "mark", "").strip() or None
    options["groups"] = entries(typed.get(at + "groups", ""))
    if (window := number(typed, at + "replay_window", errors, whole=True)) is not None:
        options["replay_window"] = window
    return options


def typed_of_peer(peer: PeerObject) -> Typed:
    typed = {name: "yes" if getattr(peer, name) else "" for name in _PEER_CHECKS}
    typed |= {name: plain(value) if (value := getattr(peer, name)) else "" for name in _PEER_NUMBERS}
    typed |= {name: ", ".join(getattr(peer, name)) for name in _PEER_LISTS}
    typed |= {name: getattr(peer, name) for name in _PEER_CHOICES}
    return typed | {"fragment_octets": str(peer.fragment_octets), "redirect_to": peer.redirect_to, "advanced": "yes"}


def peer_options(typed: Typed, errors: Errors) -> dict[str, Any]:
    """The options of the tunnel for its document."""
    if not typed.get("advanced"):
        return {}
    options: dict[str, Any] = {name: bool(typed.get(name)) for name in _PEER_CHECKS}
    options |= {name: _none_is_zero(typed, name, errors, whole) for name, whole in _PEER_NUMBERS.items()}
    options |= {name: entries(typed.get(name, "")) for name in _PEER_LISTS}
    options |= {name: text for name in _PEER_CHOICES if (text := typed.get(name))}
    options["redirect_to"] = typed.get("redirect_to", "").strip()
    if (octets := number(typed, "fragment_octets", errors, whole=True)) is not None:
        options["fragment_octets"] = octets
    return options


def _none_is_zero(typed: Typed, name: str, errors: Errors, whole: bool) -> float | int:
    return number(typed, name, errors, whole=whole) or 0
