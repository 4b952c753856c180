"""Sources that the kernel drops before we see them: a set in an nftables table of our own."""

import ipaddress
from collections.abc import Iterable, Sequence

from gateway.dataplane.netfilter import Generation
from gateway.dataplane.nft import LAID, Nft


class Blocklist:
    """The networks whose datagrams to IKE's ports the network namespace drops, where nft and its kernel side exist.

    The table is named after the first port, which one process alone can have: what a killed one left is replaced.
    """

    def __init__(self, ports: Sequence[int] = (500, 4500)) -> None:
        """Of the network namespace in which the object is made."""
        self._nft = Nft()
        self._ports = ", ".join(map(str, ports))
        self._table = f"ikegate_blocked_{ports[0]}"
        self._lying: tuple[str, ...] | None = None
        self._failed: tuple[tuple[str, ...], str] | None = None
        self._generation = Generation()

    def block(self, networks: Iterable[str]) -> str:
        """Let these be blocked and no others, in one step; "" when the kernel does it, else why it does not.

        Then the caller drops by itself. It takes some milliseconds; ordered again the same, nothing. Raises ValueError
        for what is no network.
        """
        wanted = tuple(sorted({str(ipaddress.ip_network(network)) for network in networks}))
        if wanted == self._lying:
            return ""
        if self._failed and self._failed[0] == wanted:
            return self._failed[1]
        if wanted:
            failure = self._nft.replace(self._table, "\n".join(self._content(wanted)))
        else:
            failure = self._nft.remove(self._table)
        if failure:
            self._failed = wanted, failure
        else:
            self._lying, self._failed = wanted, None
        return failure

    def put_back(self) -> bool:
        """Block again where another program took the table away; whether that was so."""
        if not self._lying or not self._generation.changed() or self._nft.lies(self._table) is not False:
            return False
        wanted, self._lying = self._lying, None
        return not self.block(wanted)

    def close(self) -> None:
        """Block nobody any more."""
        if self._lying:
            self._nft.remove(self._table)
        self._lying = ()
        self._generation.close()
        self._nft.close()

    def _content(self, networks: Sequence[str]) -> list[str]:
        by_version: dict[int, list[str]] = {4: [], 6: []}
        for network in networks:
            by_version[6 if ":" in network else 4].append(network)
        # Before connection tracking, so that a flood does not fill its table.
        chain = ["chain sources {", "type filter hook prerouting priority raw; policy accept;"]
        lines: list[str] = []
        for version, found in by_version.items():
            if found:
                lines.append(f"set v{version} {{ type ipv{version}_addr; flags interval; auto-merge;")
                lines.append(f"elements = {{ {', '.join(found)} }} }}")
                ip = "ip" if version == 4 else "ip6"
                chain.append(f"{ip} saddr @v{version} udp dport {{ {self._ports} }} counter drop")
        return [LAID, *lines, *chain, "}"]
