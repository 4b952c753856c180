"""Proposal objects by their names, as peers, children and access profiles refer to them."""

from collections.abc import Mapping
from typing import Literal

from gateway.policy.proposals import Proposal
from gateway.storage.findings import Findings

Suites = Mapping[str, tuple[str, tuple[Proposal, ...]]]  # by the proposal object's name: its protocol and its suites


def referred(
    names: tuple[str, ...], protocol: Literal["ike", "esp"], suites: Suites, at: str, found: Findings
) -> tuple[Proposal, ...]:
    """The suites of the named proposal objects, in order, each once."""
    chosen: dict[Proposal, None] = {}
    for index, name in enumerate(names):
        if name not in suites:
            found.add(f"{at}/{index}", "unknown-reference", f"there is no proposal {name!r}")
            continue
        theirs, rows = suites[name]
        if theirs != protocol:
            found.add(f"{at}/{index}", "wrong-protocol", f"proposal {name!r} is for {theirs}, not for {protocol}")
        chosen.update(dict.fromkeys(rows))
    return tuple(chosen)
