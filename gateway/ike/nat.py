"""NAT traversal: finding NATs, and telling the peer what to look for (RFC 7296 2.23, RFC 3948)."""

from gateway.ike.core import Core
from gateway.ike.path import Nat, Path, nat_hash
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType


def must_encapsulate(core: Core, peer: Peer | None) -> bool:
    """Whether ESP goes in UDP even without a NAT."""
    return core.plane.needs_encapsulation or (peer is not None and peer.force_encapsulation)


def nat_detection(core: Core, spi_i: bytes, spi_r: bytes, path: Path, *, disguise: bool) -> list[wire.Payload]:
    """Both hashes; `disguise` makes the peer see a NAT, so that ESP is encapsulated (RFC 7296 2.23)."""
    source = core.random(20) if disguise else nat_hash(spi_i, spi_r, path.local, our_port(core, path))
    destination = nat_hash(spi_i, spi_r, path.remote, path.port)
    return [
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_SOURCE_IP, source),
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_DESTINATION_IP, destination),
    ]


def detection_of(core: Core, sa: IkeSa, path: Path) -> list[wire.Payload]:
    """The hashes for a message of an SA that has both SPIs."""
    return nat_detection(core, sa.spi_i, sa.spi_r, path, disguise=must_encapsulate(core, sa.peer))


def detect_nat(core: Core, message: Message, path: Path) -> Nat:
    """Compare the peer's hashes with what we see of the datagram; any of several source hashes may fit."""
    sources = [notify.data for notify in message.notifies(NotifyType.NAT_DETECTION_SOURCE_IP)]
    destination = message.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or destination is None:
        return Nat()
    theirs = nat_hash(message.spi_i, message.spi_r, path.remote, path.port)
    ours = nat_hash(message.spi_i, message.spi_r, path.local, our_port(core, path))
    return Nat(True, here=destination.data != ours, there=theirs not in sources)


def our_port(core: Core, path: Path) -> int:
    return core.nat_port if path.marked else core.ike_port


def keep_alive(core: Core, sa: IkeSa) -> None:
    """Keepalives are for who is behind a NAT, as long as he is (RFC 3948 4)."""
    period = core.snapshot.settings.keepalive
    if sa.nat.here and period:
        core.timers.set(("keepalive", sa), core.now + period)
    else:
        core.timers.cancel(("keepalive", sa))
