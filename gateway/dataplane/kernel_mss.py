"""TCP's maximum segment size in what goes through a CHILD_SA: nftables rules in a table of our own."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from gateway.dataplane.netfilter import Generation
from gateway.dataplane.nft import LAID, Nft

_log = logging.getLogger(__name__)

_SYN = "tcp flags & (syn | rst) == syn tcp option maxseg size set"


class MssClamp:
    """Lowers the MSS of SYN packets by the reqid of the state they go through or came by, forwarded or our own.

    It takes the command nft and a kernel with CONFIG_NFT_XFRM and tables of the family inet; where they lack, segments
    are not clamped and the log says why. nft runs beside the event loop.
    """

    def __init__(self, name: str) -> None:
        """`name` tells this plane's table from others in the network namespace in which the object is made."""
        self._nft = Nft()
        self._table = f"ikegate_mss_{name}"
        self._wanted: dict[int, int] = {}
        self._worker = ThreadPoolExecutor(1, "nft")
        self._said = ""
        self._generation = Generation()
        self._again = False

    def want(self, clamps: Mapping[int, int]) -> None:
        """The MSS for each reqid that has one, and for no other."""
        if clamps != self._wanted:
            self._wanted = dict(clamps)
            self._worker.submit(self._lay, dict(clamps))

    def look(self) -> bool:
        """Whether the last look found that somebody took the rules away, and laid them again; look now, too."""
        found, self._again = self._again, False
        if self._wanted and self._generation.changed():
            self._worker.submit(self._put_back, dict(self._wanted))
        return found

    @property
    def wanted(self) -> Mapping[int, int]:
        return self._wanted

    def settle(self) -> None:
        """Wait until everything ordered lies there."""
        self._worker.submit(int).result()

    def sweep(self) -> None:
        """Remove what a killed process left."""
        self._nft.remove(self._table)

    def close(self) -> None:
        self.want({})
        self._worker.shutdown()
        self._generation.close()
        self._nft.close()

    def _put_back(self, clamps: Mapping[int, int]) -> None:
        if self._nft.lies(self._table) is False:
            self._lay(clamps)
            self._again = not self._said

    def _lay(self, clamps: Mapping[int, int]) -> None:
        failure = self._nft.replace(self._table, _content(clamps)) if clamps else self._nft.remove(self._table)
        if failure and failure != self._said:
            _log.warning("the maximum segment size of TCP is not clamped: %s", failure)
        self._said = failure


def _content(clamps: Mapping[int, int]) -> str:
    lines = [LAID]
    for chain, hook, direction in (("leaving", "postrouting", "out"), ("arriving", "prerouting", "in")):
        lines += [f"chain {chain} {{", f"type filter hook {hook} priority mangle; policy accept;"]
        # The kernel never raises an MSS (nft_exthdr_tcp_set_eval).
        lines += [f"ipsec {direction} reqid {reqid} {_SYN} {mss}" for reqid, mss in sorted(clamps.items())]
        lines.append("}")
    return "\n".join(lines)
