"""What keys rest on against quantum computers, in words: of one tunnel, and of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ike.standing import Standing
from gateway.policy.quantum import Demand
from gateway.service.rollout import Rollout, summary
from web.console.words import counted, listed


@dataclass(frozen=True, slots=True)
class Keys:
    """A word, and how it looks."""

    word: str
    css: str


KEYS = {
    Standing.HYBRID: Keys("hybrid", "strong"),
    Standing.ML_KEM: Keys("ML-KEM", "strong"),
    Standing.PPK: Keys("PPK", "strong"),
    Standing.CLASSICAL: Keys("classical", ""),
}
_DEMANDS = {Demand.OFF: "nothing", Demand.PREFER: "preferred", Demand.REQUIRE: "required"}
_VERDICTS = {True: ("would be refused", "weak"), None: ("unknown", ""), False: ("would stay", "strong")}
_COUNTED = (
    ("hybrid", "hybrid"),
    ("ml-kem", "by ML-KEM alone"),
    ("ppk", "by PPK"),
    ("classical", "classical"),
    ("unknown", "not seen yet"),
)


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One line of the report, in words."""

    it: Rollout
    keys: Keys | None
    demand: str
    verdict: str
    css: str


def rollout_rows(found: Sequence[Rollout]) -> tuple[RolloutRow, ...]:
    """Who would be refused first, then who is unknown, then the others."""
    order = list(_VERDICTS)
    return tuple(_row(one) for one in sorted(found, key=lambda one: (order.index(one.breaks), one.peer)))


def _row(one: Rollout) -> RolloutRow:
    verdict, css = _VERDICTS[one.breaks]
    if one.breaks and one.demand is Demand.REQUIRE:
        verdict = "is refused"
    return RolloutRow(one, KEYS[one.keys] if one.keys else None, _DEMANDS[one.demand], verdict, css)


def truth(found: Sequence[Rollout]) -> str:
    """The report in one sentence; empty where there is no tunnel."""
    if not found:
        return ""
    counts = summary(found)
    told = listed([f"{counts[name]} {word}" for name, word in _COUNTED if counts[name]], most=len(_COUNTED))
    stopped = counted(counts["breaks"], "tunnel") if counts["breaks"] else "None"
    return f"{told}. {stopped} would be refused if such keys were required today."
