"""Negotiations as checklists: which steps were taken, where it ended, how the two sides differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.ike.attempts import Attempt, MessageSeen, Outcome, Step
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from web.console.words import OUTCOMES, State

_WHAT_NOW = {
    Step.REACH: "The peer answers our first message, or its message reaches us.",
    Step.ALGORITHMS: "Both ends find algorithms that they have in common.",
    Step.NAT: "Both ends learn whether a NAT is between them.",
    Step.IDENTITY: "Each end proves who it is to the other.",
    Step.NETWORKS: "Both ends agree on whose traffic is protected.",
    Step.INSTALL: "The keys go into the data plane.",
}


@dataclass(frozen=True, slots=True)
class StepRow:
    """One station of the checklist: `kind` is done, failed, running or ahead."""

    step: Step
    kind: str
    text: str
    after: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One proposal of one side as its words; the second of each pair says that the other side has no such word."""

    words: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """One attempt: its checklist, both sides' lists with the differing words marked, its messages."""

    attempt: Attempt
    state: State
    steps: tuple[StepRow, ...]
    offered_title: str
    acceptable_title: str
    comparison: tuple[tuple[Cell, Cell], ...]
    messages: tuple[tuple[MessageSeen, str, float], ...]
    notify: str


def attempt_page(attempt: Attempt) -> AttemptPage:
    ours, theirs = ("we offered", "they accept") if attempt.initiator else ("they offered", "we accept")
    return AttemptPage(
        attempt,
        OUTCOMES[attempt.outcome],
        checklist(attempt),
        ours.capitalize(),
        theirs.capitalize(),
        compare(attempt.offered, attempt.acceptable),
        tuple((seen, exchange_name(seen), seen.at - attempt.started) for seen in attempt.messages),
        name_of(NotifyType, attempt.notify) if attempt.notify is not None else "",
    )


def exchange_name(seen: MessageSeen) -> str:
    return f"{name_of(ExchangeType, seen.exchange)} {'response' if seen.response else 'request'}"


def checklist(attempt: Attempt) -> tuple[StepRow, ...]:
    """All stations in order; the last word on a station counts, and one that was passed proves those before it."""
    taken = {entry.step: entry for entry in attempt.steps}
    order = list(Step)
    passed = max((order.index(entry.step) for entry in attempt.steps if entry.done), default=-1)
    rows: list[StepRow] = []
    for number, step in enumerate(order):
        entry = taken.get(step)
        if entry is not None:
            kind, text = ("done", entry.text) if entry.done else ("failed", entry.text or attempt.reason)
            rows.append(StepRow(step, kind, text, entry.at - attempt.started))
        elif number < passed:
            rows.append(StepRow(step, "done", "", None))
        else:
            rows.append(_open_step(attempt, step, stopped=any(row.kind in ("failed", "running") for row in rows)))
    return tuple(rows)


def _open_step(attempt: Attempt, step: Step, *, stopped: bool) -> StepRow:
    """A station that no one has noted yet."""
    if attempt.outcome is Outcome.ESTABLISHED:
        return StepRow(step, "ahead", "Not needed.", None)
    if stopped or any(not entry.done for entry in attempt.steps):
        return StepRow(step, "ahead", "Not reached.", None)
    if attempt.outcome is Outcome.FAILED:
        return StepRow(step, "failed", attempt.reason, None)
    return StepRow(step, "running", _WHAT_NOW[step], None)


def compare(offered: Sequence[str], acceptable: Sequence[str]) -> tuple[tuple[Cell, Cell], ...]:
    """The two lists side by side, line by line; a word that occurs nowhere on the other side is marked."""
    theirs, ours = _all_words(offered), _all_words(acceptable)
    lines = max(len(offered), len(acceptable))
    return tuple((_cell(offered, n, ours), _cell(acceptable, n, theirs)) for n in range(lines))


def _all_words(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in _words(line)}


def _words(line: str) -> list[str]:
    """A proposal is words with hyphens between; a network or a sentence stays whole."""
    return [line] if any(sign in line for sign in "/[ :.") else line.split("-")


def _cell(lines: Sequence[str], number: int, other: set[str]) -> Cell:
    if number >= len(lines):
        return Cell(())
    return Cell(tuple((word, bool(other) and word not in other) for word in _words(lines[number])))


def attempt_rows(attempts: Iterable[Attempt], query: str = "", outcome: str = "") -> tuple[tuple[Attempt, State], ...]:
    """Attempts with `query` in a text and of `outcome` (empty: any), in the order given."""
    needle = query.strip().lower()
    return tuple(
        (attempt, OUTCOMES[attempt.outcome])
        for attempt in attempts
        if (not outcome or attempt.outcome == outcome) and (not needle or needle in _haystack(attempt))
    )


def _haystack(attempt: Attempt) -> str:
    parts = (
        attempt.peer or "",
        attempt.local,
        attempt.remote,
        attempt.local_id,
        attempt.remote_id,
        attempt.eap_identity,
        attempt.cause,
        attempt.reason,
    )
    return "\n".join(parts).lower()
