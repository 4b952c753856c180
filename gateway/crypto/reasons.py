"""Why a certificate is revoked, by the names that people write."""

from typing import Literal, get_args

Reason = Literal[
    "unspecified",
    "key-compromise",
    "ca-compromise",
    "affiliation-changed",
    "superseded",
    "cessation-of-operation",
    "privilege-withdrawn",
]
"""RFC 5280 5.3.1, but for what a list that is whole never says: on hold, and taken off the list again."""
REASONS: tuple[str, ...] = get_args(Reason)
