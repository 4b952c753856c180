"""What is demanded of keys against quantum computers, on the forms of a tunnel and of the settings."""

from datetime import UTC, date, datetime, time
from typing import Any

from gateway.storage.peers import PeerObject
from gateway.storage.rules import SettingsObject
from web.console.forms.fields import Errors, Typed


def typed_of(one: PeerObject | SettingsObject) -> Typed:
    """The day shows as one of UTC."""
    begins = one.post_quantum_from
    day = "" if begins is None else datetime.fromtimestamp(begins, UTC).strftime("%Y-%m-%d")
    return {"post_quantum": one.post_quantum, "post_quantum_from": day}


def demand(typed: Typed, base: PeerObject | SettingsObject | None, errors: Errors) -> dict[str, Any]:
    """The two fields for a document, none where the form has none; a day that was not touched keeps its hour."""
    if "post_quantum" not in typed:
        return {}
    text = typed.get("post_quantum_from", "").strip() if typed["post_quantum"] == "require" else ""
    begins: float | None = None
    if text and base is not None and text == typed_of(base)["post_quantum_from"]:
        begins = base.post_quantum_from
    elif text:
        try:
            begins = datetime.combine(date.fromisoformat(text), time(), UTC).timestamp()
        except ValueError:
            errors["post_quantum_from"] = "Write a day such as 2027-01-31."
    return {"post_quantum": typed["post_quantum"], "post_quantum_from": begins}
