"""Why a negotiation came to classical keys alone."""

from enum import StrEnum


class Shortfall(StrEnum):
    """As far as the negotiation shows it; a clause for people."""

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
    LOST = "the messages with ML-KEM got lost on the path, and we fell back"
