"""What went through the data plane, as far as life and idleness are told by it (RFC 7296 2.4)."""

from collections.abc import Mapping

from gateway.ike.plane import Counters, StateKey
from gateway.ike.plane_protocol import DataPlane
from gateway.ike.sa import ChildSa

_SHORTEST = 1.0
_NOTHING = Counters()


class Traffic:
    """Reads the counters of all states in one dump, at most one each second whoever asks."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._read = float("-inf")
        self._counters: Mapping[StateKey, Counters] = {}

    def look(self, child: ChildSa, now: float, patience: float = 0.0) -> None:
        """Note on the CHILD_SA when it was used; a dump up to `patience` seconds old will do.

        Counters that grew tell that packets passed since the last look, not when: `heard` (packets in) is the time of
        that last look, the least that is certain; `used` (packets either way) is the time of this one, the most.
        """
        if now - self._read >= max(_SHORTEST, patience):
            self._counters, self._read = self._plane.counters(), now
        inward = self._counters.get(child.inbound.key, _NOTHING).packets
        outward = self._counters.get(child.outbound.key, _NOTHING).packets
        if self._read <= child.looked:
            return
        if inward > child.packets_in:
            child.heard = child.looked
        if inward > child.packets_in or outward > child.packets_out:
            child.used = self._read
        child.packets_in, child.packets_out, child.looked = inward, outward, self._read
