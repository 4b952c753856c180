"""What comes in the open, outside every IKE SA: hints that a peer lost its state, and proofs (RFC 7296 2.21.4)."""

from gateway.ike.core import Core
from gateway.ike.exchanges.crash_detection import answer_unknown, proves_loss, unknown_esp
from gateway.ike.lifecycle import close
from gateway.ike.liveness import suspect, suspect_address
from gateway.ike.path import IKE_PORT, Path
from gateway.ike.sa import OPENING, IkeSa, Lifecycle
from gateway.ike.supervise import keep_up
from gateway.wire.message import Header, Message, parse
from gateway.wire.numbers import ExchangeType, NotifyType, PayloadType
from gateway.wire.outcome import Drop


def hear_stranger(core: Core, header: Header, datagram: bytes, path: Path) -> None:
    """A message for no IKE SA of ours: answered, believed as a hint, or dropped. Raises Drop."""
    answer, dscp = core.extensions.last_answers.again(header, datagram)
    if answer:
        core.count("repeated")
        core.send_all(answer, path, dscp)
        return
    if header.next_payload == PayloadType.NOTIFY and header.exchange == ExchangeType.INFORMATIONAL:
        if not header.response and parse(datagram).notify(NotifyType.INVALID_SPI):
            core.count("invalid-spi-heard")
            suspect_address(core, path.remote)
            return
        raise Drop("unknown SPI")
    core.send(answer_unknown(core, header, datagram), path)


def is_unprotected(header: Header) -> bool:
    """Whether the message tells something in the open about an SA, which only an opening may do."""
    return header.next_payload == PayloadType.NOTIFY and header.exchange not in OPENING


def hear_unprotected(core: Core, sa: IkeSa, datagram: bytes) -> None:
    """With the peer's token it is true and the SA ends, silently; all else only makes us ask. Raises Drop."""
    if sa.state not in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED, Lifecycle.DELETING):
        raise Drop("unprotected message")
    if not core.rates.hints.take(core.now):
        raise Drop("unprotected message, too many of them")
    message = parse(datagram)
    if (message.spi_i, message.spi_r) != (sa.spi_i, sa.spi_r):
        raise Drop("unknown SPI")
    if proves_loss(sa, message):
        _lost(core, sa)
        return
    _hint(core, sa, message)


def _lost(core: Core, sa: IkeSa) -> None:
    """RFC 6290 3: the SA is gone at the other end, so no delete is due; what is wanted always is called at once."""
    core.count("crash-tokens-taken")
    current = sa.state == Lifecycle.ESTABLISHED
    close(core, sa, "the peer restarted and has lost it (its crash detection token proves so)", "peer-restarted")
    if current and sa.peer:
        core.failures.pop(sa.peer.name, None)
        keep_up(core, sa.peer.name)


def _hint(core: Core, sa: IkeSa, message: Message) -> None:
    if message.notify(NotifyType.QUICK_CRASH_DETECTION):
        core.count("crash-tokens-refused")
    if not any(message.notify(kind) for kind in (NotifyType.INVALID_IKE_SPI, NotifyType.INVALID_SPI)):
        raise Drop("unprotected message")
    suspect(core, sa)


def hear_esp(core: Core, spi: int, source: str) -> None:
    """ESP for an SPI that nobody has: its sender is asked whether it lives, or told when we do not know it."""
    core.count("esp-unknown-spi")
    if not suspect_address(core, source, spi) and core.rates.answers.take(core.now):
        core.send(unknown_esp(spi), Path("", source, IKE_PORT))
