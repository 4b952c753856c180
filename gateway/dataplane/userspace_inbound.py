"""From UDP to the TUN device: open each packet, check where it came from and what it may carry, write it."""

import socket
import time
from collections.abc import Callable
from struct import Struct

from gateway.dataplane.driver import IkeReceived
from gateway.dataplane.esp import Forged, Malformed, Replayed
from gateway.dataplane.tun import Tun
from gateway.dataplane.userspace_early import EarlyDatagrams
from gateway.dataplane.userspace_packets import CE, clamp_mss, congest, flow_key, keyed, parse_flow
from gateway.dataplane.userspace_policies import PolicyTable
from gateway.dataplane.userspace_sas import Drops, InboundSa, Sparingly
from gateway.dataplane.userspace_tcp import TunWriter
from gateway.dataplane.userspace_udp import CONTROL_OCTETS, Control, local_address, received
from gateway.ike.plane import StateKey
from gateway.ike.plane_events import Expire, PlaneEvent, Remapped, UnknownSpi

PACKETS_AT_ONCE = 64
SECONDS_AT_ONCE = 0.003
"""After so many datagrams, or so long, the event loop gets its turn; the last read may bring 64 more."""
_MOST_FLOWS = 4096
_SPI = Struct("!I")
_NON_ESP_MARKER = 4
_LEAST_DATAGRAM = 8
_KEEPALIVE = b"\xff"  # RFC 3948 2.3

Address = tuple[str, int]


class Inbound:
    """The inbound states by their SPI, and the path of packets through them."""

    def __init__(self, tun: Tun, policies: PolicyTable, drops: Drops, clock: Callable[[], float]) -> None:
        self._policies = policies
        self._drops = drops
        self._clock = clock
        self._states: dict[int, InboundSa] = {}
        self._unknown = Sparingly(clock)
        self._moved = Sparingly(clock)
        self._writer = TunWriter(tun)
        self.early = EarlyDatagrams(clock)
        self._data = memoryview(bytearray(1 << 16))
        self._plain = memoryview(bytearray(1 << 16))
        self._emit: Callable[[PlaneEvent], None] | None = None

    def begin(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._emit = emit

    def find(self, spi: int) -> InboundSa | None:
        return self._states.get(spi)

    def states(self) -> list[InboundSa]:
        return list(self._states.values())

    def add(self, sa: InboundSa) -> None:
        self._states[sa.state.spi] = sa
        self.early.settle(sa.state.spi, there=True)

    def remove(self, key: StateKey) -> None:
        sa = self._states.get(key.spi)
        if sa is not None and sa.state.key == key:
            del self._states[key.spi]
        self.early.settle(key.spi, there=False)

    def open_early(self) -> None:
        """Take what came before its state was there. Not while packets are on their way through: they share buffers."""
        for _, data, _, peer, congested in self.early.take():
            self._data[: len(data)] = data
            self._open_all(len(data), len(data), peer, congested, _no_ike)
        self._writer.flush()

    def drain(self, sock: socket.socket, ike_received: IkeReceived) -> None:
        """Receive until the socket is empty, or PACKETS_AT_ONCE or SECONDS_AT_ONCE are over."""
        buffers, budget = [self._data], PACKETS_AT_ONCE
        deadline = time.perf_counter() + SECONDS_AT_ONCE
        while budget > 0 and time.perf_counter() < deadline:
            try:
                octets, control, _, address = sock.recvmsg_into(buffers, CONTROL_OCTETS)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error that an earlier send brought about: to receive it clears it
                budget -= 1
                continue
            size, traffic_class = received(control, octets)
            budget -= -(-octets // size) if size else 1

            def ike(message: bytes, peer: Address = address[:2], control: Control = control) -> None:
                ike_received(message, peer, local_address(control))

            self._open_all(octets, size, address[:2], traffic_class & CE == CE, ike)
            self._writer.flush()
        self._drops.not_written = self._writer.refused

    def _open_all(self, octets: int, size: int, peer: Address, congested: bool, ike: Callable[[bytes], None]) -> None:
        """Take each of the datagrams of `size` octets, the last may be shorter, that lie in the buffer."""
        data, plain, writer, now = self._data, self._plain, self._writer, self._clock()
        at, spi, sa, moved = 0, -1, None, False
        for start in range(0, octets, size or 1):
            stop = min(start + size, octets)
            if stop - start < _LEAST_DATAGRAM:
                self._drops.too_short += data[start:stop] != _KEEPALIVE
                continue
            found: int = _SPI.unpack_from(data, start)[0]
            if found != spi:
                spi, sa = found, self._states.get(found)
                moved = sa is not None and sa.peer != peer
            if sa is None:
                spi = -1  # whoever hears of it may change the states
                self._without_state(found, data[start:stop], peer, congested, ike)
                continue
            try:
                inner = sa.esp.open_into(data, start, stop, plain, at)
            except (Forged, Malformed, Replayed) as failure:
                self._refuse(sa, failure)
                continue
            sa.packets += 1
            sa.octets += inner
            sa.last_used = now
            if sa.watched:
                self._watch(sa, plain[at : at + inner])
                spi = -1
            if moved and sa.esp.newest:
                spi = -1
                self._remap(sa, peer)
            if not inner or (congested and not self._congest(at, inner)):
                continue
            if not (sa is writer.origin and writer.extend(plain, at, inner)):
                if not self._admits(sa, plain[at : at + inner]):
                    self._drops.not_admitted += 1
                    continue
                writer.begin(sa, plain, at, inner)
            at += inner

    def _without_state(
        self, spi: int, datagram: memoryview, peer: Address, congested: bool, ike: Callable[[bytes], None]
    ) -> None:
        """IKE, or ESP whose state is not there: not yet, or not any more."""
        if not spi:
            ike(bytes(datagram[_NON_ESP_MARKER:]))
        elif not self.early.keep(spi, datagram, peer, congested=congested):
            self._stranger(spi, peer)

    def _watch(self, sa: InboundSa, packet: memoryview) -> None:
        """Clamp what a TCP handshake announces, tell limits that are reached, and let go of a state at its hard one."""
        if sa.state.mss and packet:
            clamp_mss(packet, sa.state.mss)
        soft, hard = sa.reached()
        told: list[bool] = [hard] if hard else []
        if (soft or hard) and not sa.warned:
            sa.warned = True
            told.insert(0, False)
        if hard:
            self.remove(sa.state.key)
        for event in told:
            if self._emit is not None:
                self._emit(Expire(sa.state.key, event, sa.state.reqid))

    def _admits(self, sa: InboundSa, packet: memoryview) -> bool:
        """Whether the packet is one that this state may bring (RFC 4301 5.2, step 4)."""
        if sa.generation != self._policies.generation or len(sa.flows) >= _MOST_FLOWS:
            sa.generation = self._policies.generation
            sa.flows.clear()
        key = flow_key(packet, len(packet))
        if key in sa.flows:
            return True
        flow = parse_flow(packet)
        if flow is None or (flow not in sa.flows and not self._policies.admits(sa.state.reqid, flow)):
            return False
        sa.flows.add(key if keyed(packet, flow) else flow)
        return True

    def _congest(self, at: int, octets: int) -> bool:
        if congest(self._plain[at : at + octets]):
            return True
        self._drops.congested += 1
        return False

    def _refuse(self, sa: InboundSa, failure: Exception) -> None:
        if isinstance(failure, Replayed):
            sa.replays += 1
            self._drops.replayed += 1
        elif isinstance(failure, Forged):
            sa.forged += 1
            self._drops.forged += 1
        else:
            self._drops.malformed += 1

    def _stranger(self, spi: int, peer: Address) -> None:
        self._drops.unknown_spi += 1
        if self._emit is not None and self._unknown.allows((spi, peer)):
            self._emit(UnknownSpi(spi, peer[0]))

    def _remap(self, sa: InboundSa, peer: Address) -> None:
        """The peer was authenticated at another address or port: its NAT has a new mapping (RFC 7296 2.23)."""
        if self._emit is not None and self._moved.allows((sa.state.key, peer)):
            self._emit(Remapped(sa.state.key, *peer, sa.state.reqid))


def _no_ike(message: bytes) -> None:
    """What was kept for its SPI is ESP."""
