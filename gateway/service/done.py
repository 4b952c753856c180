"""What came of an action that an administrator asked for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """`ok` says whether what was asked for is so now (or, without waiting, was begun); `text` is for a person.

    `ike_sa` and `attempt` are the numbers under which status and attempts show what it was about.
    """

    ok: bool
    text: str
    ike_sa: int | None = None
    attempt: int | None = None
