"""ESP that comes before its state: a responder may send on a new CHILD_SA while its answer is still under way to us."""

import asyncio
import logging
import time

from gateway.dataplane.netfilter import PacketQueue, Tables, element, input_table, queueing_rule

_log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for which a packet waits at most."""
_MOST_PACKETS, _MOST_SPIS = 1024, 4096
_TURNS, _FEW = 8, 16
"""How often we look at most for what came while the last went on, and how little of it is no matter."""
_QUEUES = range(7296, 7312)
_LAST = 300  # priority: what a firewall drops at its own place is never kept
_ESP, _UDP, _UDP_HEADER, _IPV6_HEADER = 50, 17, 8, 40
_SHOWN = 80  # octets of a packet that we look at: IP and UDP header, and the SPI


class EarlyPackets:
    """Keeps packets for SPIs that are expected, in the network namespace in which the object is made.

    The kernel drops ESP whose state is not there yet. With the first SPI that is expected a table of nftables comes to
    be, whose rules hand packets for such SPIs, bare or in UDP, to a queue of ours. Nobody can guess these SPIs, and
    what is kept would be lost otherwise: at most 1,024 packets, each for a second. Where the kernel has no queues
    (CONFIG_NFT_QUEUE, CONFIG_NETFILTER_NETLINK_QUEUE) nothing is kept, which is logged once.
    """

    def __init__(self) -> None:
        self.expected: set[int] = set()
        self._kept: dict[int, tuple[int, float]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: PacketQueue | None = None
        self._tables: Tables | None = None
        self._number = 0
        self._laid = False
        try:
            self._tables = Tables()
            self._queue, self._number = _free_queue()
        except OSError as failure:
            self._give_up(failure)

    @property
    def _table(self) -> str:
        return f"ikegate_early_{self._number}"

    def listen(self) -> None:
        """Let packets go by the running event loop when their time is over."""
        self._loop = asyncio.get_running_loop()
        if self._queue is not None:
            self._loop.add_reader(self._queue.fileno(), self._read)

    def expect(self, spi: int) -> None:
        """From now on packets for this SPI wait."""
        if self._tables is None or len(self.expected) >= _MOST_SPIS:
            return
        changes = [element(self._table, spi.to_bytes(4), there=True)]
        if not self._laid:
            places = (_ESP, 0), (_UDP, _UDP_HEADER)
            rules = [queueing_rule(self._table, *place, 4, self._number) for place in places]
            changes = [*input_table(self._table, _LAST, 4, _MOST_SPIS), *rules, *changes]
        try:
            self._tables.commit(changes)
        except OSError as failure:
            self._give_up(failure)
            return
        self._laid = True
        self.expected.add(spi)

    def settle(self, spi: int) -> None:
        """Its state is there, or will never be: what waits goes on, and then what comes.

        In this order: what overtakes it would leave it outside of the state's replay window.
        """
        if spi not in self.expected or self._tables is None:
            return
        self.expected.discard(spi)
        for _ in range(_TURNS):
            if self._read() <= _FEW:
                break
        try:
            self._tables.commit([element(self._table, spi.to_bytes(4), there=False)])
        except OSError as failure:
            self._give_up(failure)
            return
        self._read()

    def _read(self) -> int:
        """Keep what is for an expected SPI, let all else go on; how many did."""
        if self._queue is None:
            return 0
        now = time.monotonic()
        for number, packet in self._queue.read():
            self._kept[number] = spi_of(packet), now
        ready = [number for number, (spi, _) in self._kept.items() if spi not in self.expected]
        self._release(ready, accept=True)
        if self._kept and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(PATIENCE / 4, self._expire)
        return len(ready)

    def _expire(self) -> None:
        self._timer = None
        before = time.monotonic() - PATIENCE
        self._release([number for number, (_, came) in self._kept.items() if came <= before], accept=False)
        self._read()

    def _release(self, numbers: list[int], *, accept: bool) -> None:
        if numbers and self._queue is not None:
            self._queue.decide(numbers, accept=accept)
            for number in numbers:
                del self._kept[number]

    def _give_up(self, failure: OSError) -> None:
        _log.info("what a peer sends before a rekey is done here is lost: %s", failure.strerror)
        self.close()

    def close(self) -> None:
        """The table goes; what still waits is dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._queue.fileno())
            self._queue.close()
        if self._tables is not None:
            self._tables.close()
        self._queue = self._tables = None
        self.expected.clear()
        self._kept.clear()


def _free_queue() -> tuple[PacketQueue, int]:
    """A queue that no other process has. Raises OSError."""
    for number in _QUEUES:
        try:
            return PacketQueue(number, most=_MOST_PACKETS, shown=_SHOWN), number
        except OSError as failure:
            refused = failure
    raise refused


def spi_of(packet: bytes) -> int:
    """The SPI in an IP packet with ESP, bare or in UDP; 0 when there is none."""
    if len(packet) < _IPV6_HEADER:
        return 0
    version = packet[0] >> 4
    at, protocol = ((packet[0] & 15) * 4, packet[9]) if version == 4 else (_IPV6_HEADER, packet[6])
    at += _UDP_HEADER if protocol == _UDP else 0
    return int.from_bytes(packet[at : at + 4]) if protocol in (_ESP, _UDP) else 0
