"""Post-quantum pre-shared keys as an administrator writes them (RFC 8784)."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.policy.ppks import MAX_ID_OCTETS
from gateway.storage.fields import LATEST, Described, Named, Seconds

LEAST_OCTETS = 32
"""256 bits, half of which are left against a quantum computer (RFC 8784 6)."""


PostQuantumFrom = Annotated[
    Seconds | None,
    Field(
        ge=0,
        le=LATEST,
        description="From when `require` holds, Unix time in seconds: until then it is as `prefer`; null: at once",
        examples=[None, 1_900_000_000],
    ),
]


class PpkFields(Described):
    """By what identity both ends know a post-quantum pre-shared key. The key itself is never part of it."""

    identity: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_ID_OCTETS, pattern=r"^[\x21-\x7e]+$"),
        Field(description="The PPK_ID, the same at the other end: printable ASCII", examples=["2026.branch.example"]),
    ]


class PpkObject(PpkFields, Named):
    """A post-quantum pre-shared key with its name, without its secret."""


def check_strength(secret: bytes) -> bytes:
    """A key that is long enough. Raises ValueError."""
    if len(secret) < LEAST_OCTETS:
        why = f"a post-quantum pre-shared key has at least {LEAST_OCTETS} octets, best random ones; this has"
        raise ValueError(f"{why} {len(secret)}")
    return secret
