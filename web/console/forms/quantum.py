"""What is demanded of keys against quantum computers, on the forms of a tunnel and of the settings."""

from datetime import time
from typing import Any

from gateway.storage.peers import PeerObject
from gateway.storage.rules import SettingsObject
from web.console.forms.fields import Errors, Typed, typed_day, typed_moment


def typed_of(one: PeerObject | SettingsObject) -> Typed:
    """The day shows as one of UTC."""
    return {"post_quantum": one.post_quantum, "post_quantum_from": typed_day(one.post_quantum_from)}


def demand(typed: Typed, base: PeerObject | SettingsObject | None, errors: Errors) -> dict[str, Any]:
    """The two fields for a document, none where the form has none; a day that was not touched keeps its hour."""
    if "post_quantum" not in typed:
        return {}
    begins: float | None = None
    if typed["post_quantum"] == "require":
        stored = base.post_quantum_from if base else None
        begins = typed_moment(typed, "post_quantum_from", errors, stored=stored, hour=time())
    return {"post_quantum": typed["post_quantum"], "post_quantum_from": begins}
