"""Who is in because a RADIUS server said so."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """From when an IKE SA stands until the last that took its place ends; the same object in all of them.

    `address` and `ours` are the two ends with their ports, as they were at first; `nas` is what we are called;
    `grant` is what the server granted, which is of no matter to the engine.
    """

    user: str
    address: str
    ours: str
    nas: str
    grant: object = field(default=None, repr=False)
