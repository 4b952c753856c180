"""What keys rest on against quantum computers, and why on nothing."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Standing(StrEnum):
    """What an IKE SA's keys rest on. HYBRID and ML_KEM may have a post-quantum pre-shared key as well."""

    HYBRID = "hybrid"
    ML_KEM = "ml-kem"
    PPK = "ppk"
    CLASSICAL = "classical"


class Shortfall(StrEnum):
    """Why a negotiation came to classical keys alone, as far as it shows; a clause for people."""

    NONE = ""
    NOT_OFFERED = "the peer offered no ML-KEM"
    NOT_OFFERED_OLD = (
        "the peer offered no ML-KEM, nor IKE_INTERMEDIATE (RFC 9242): it is too old for it, or has it switched off"
    )
    NO_COMMON = "the peer offered ML-KEM, in no suite that we accept"
    NOT_CHOSEN = "we offered ML-KEM, and the peer chose a suite without"
    NOT_CHOSEN_OLD = (
        "we offered ML-KEM, and the peer chose a suite without and says nothing of IKE_INTERMEDIATE (RFC 9242): it is "
        "too old for it, or has it switched off"
    )
    RESUMED = "it came back by the ticket of an IKE SA whose keys were classical"
    LOST = (
        "the messages with ML-KEM got lost on the path, and we fell back; who drops them on purpose brings that about, "
        "unless ML-KEM or a PPK is required"
    )


class FellBack(NamedTuple):
    """A peer's large messages got lost: for `wait` seconds, `until` then (the engine's clock), it is called without."""

    until: float
    wait: float


@dataclass(slots=True)
class Seen:
    """What a peer's keys rested on last: `since` when (the engine's clock), and why no better."""

    standing: Standing
    since: float
    why: str
