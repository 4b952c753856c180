"""Blocked sources on their way to the kernel, which drops them before the engine must."""

import logging
from concurrent.futures import ThreadPoolExecutor

from gateway.dataplane.kernel_blocklist import Blocklist

log = logging.getLogger("ikegate")


class Blocking:
    """Keeps the kernel's list as the configuration has it, beside the event loop; the engine drops in any case."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._list = Blocklist(ports)
        self._worker = ThreadPoolExecutor(1, "blocking")
        self._wanted: tuple[str, ...] | None = None
        self._said = ""
        self._again = False

    def want(self, networks: tuple[str, ...]) -> None:
        if networks != self._wanted:
            self._wanted = networks
            self._worker.submit(self._lay, networks)

    def look(self) -> bool:
        """Whether the last look found that another program took the list away, and laid it again; look now, too."""
        found, self._again = self._again, False
        self._worker.submit(self._put_back)
        return found

    def close(self) -> None:
        self._worker.shutdown()
        self._list.close()

    def _lay(self, networks: tuple[str, ...]) -> None:
        why = self._list.block(networks)
        if why and networks and why != self._said:
            log.info("blocked sources are dropped by this process alone, not by the kernel: %s", why)
            self._said = why

    def _put_back(self) -> None:
        self._again = self._list.put_back()
