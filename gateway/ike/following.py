"""A CREATE_CHILD_SA that we have answered and that further key exchanges complete (RFC 9370 2.2.4)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.crypto.rows import KeyExchangeMethod
from gateway.wire.payloads import Payload


class Shared(NamedTuple):
    """The secrets of a CREATE_CHILD_SA: its own key exchange's, if any, and those of the following ones, joined."""

    first: bytes = b""
    following: bytes = b""


NOTHING_SHARED = Shared()

PATIENCE = 20.0
"""Seconds that we wait for the next key exchange."""


@dataclass(slots=True)
class Following:
    """`methods` are still to come; `finish` makes the SA of the secrets, `abandon` gives back what was held for it."""

    link: bytes
    methods: tuple[KeyExchangeMethod, ...]
    finish: Callable[[bytes], list[Payload]]
    abandon: Callable[[], None]
    secrets: bytes = field(default=b"", repr=False)
