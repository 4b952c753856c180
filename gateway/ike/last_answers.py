"""The answers that IKE SAs ended with: a peer that lost one asks for it again, and would else ask for minutes.

RFC 7296 2.1 has each response kept until the next request; of an SA that is gone there will be none.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.ike.sa import IkeSa
from gateway.ike.window import Responses
from gateway.wire.message import Header

_LIFETIME = 90.0
"""Seconds: strongSwan asks for the fifth time after 47, libreswan for the last time after 64."""
_MOST = 1024


class _Kept(NamedTuple):
    initiator: bool
    responses: Responses
    until: float
    dscp: int


@dataclass(slots=True)
class LastAnswers:
    """By our SPI, the oldest first; of more than a bound the oldest are forgotten."""

    _kept: dict[bytes, _Kept] = field(default_factory=dict)

    def keep(self, sa: IkeSa, now: float) -> None:
        """The SA ends with the answer that it gave just now."""
        if len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[sa.our_spi] = _Kept(sa.initiator, sa.responses, now + _LIFETIME, sa.dscp)

    def forget(self, now: float) -> float | None:
        """Forget what nobody asks for any more; when to do so again, None when nothing is left."""
        while (oldest := next(iter(self._kept.values()), None)) and oldest.until <= now:
            del self._kept[next(iter(self._kept))]
        return oldest.until if oldest else None

    def again(self, header: Header, datagram: bytes) -> tuple[tuple[bytes, ...], int]:
        """The answer to these very octets, with its DSCP; nothing where none was given, or long ago."""
        kept = self._kept.get(header.spi_r if header.initiator else header.spi_i)
        if kept is None or kept.initiator is header.initiator or header.response:
            return (), 0
        repeated = kept.responses.is_repeat(header.message_id, datagram)
        return kept.responses.last_response if repeated else (), kept.dscp
