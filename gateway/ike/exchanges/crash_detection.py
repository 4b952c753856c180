"""Quick crash detection (RFC 6290): a token by which a peer that lost its SAs proves that it did, both sides."""

import hashlib
import hmac

from gateway.ike.core import Core
from gateway.ike.flow import ask_peer
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Header, Message, build
from gateway.wire.numbers import ExchangeType, NotifyType, PayloadType, Protocol
from gateway.wire.outcome import Drop

_TOKEN_OCTETS = 16
_LONGEST = 128
_MOST_TOKENS = 4
_KIND = NotifyType.QUICK_CRASH_DETECTION


def _token(core: Core, spi_i: bytes, spi_r: bytes) -> bytes:
    """RFC 6290 5.1: the same for the same SPIs as long as the secret is the same, also after a restart."""
    return hmac.digest(core.crash_secret, spi_i + spi_r, hashlib.sha256)[:_TOKEN_OCTETS]


def offer_token(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """N(QCD_TOKEN) for a protected message of this SA; nothing when the engine was given no secret."""
    if not core.crash_secret:
        return []
    return [wire.Notify(Protocol.IKE, b"", _KIND, _token(core, sa.spi_i, sa.spi_r))]


def take_token(sa: IkeSa, message: Message) -> None:
    """Keep the token that a protected message brought; a later one takes its place (RFC 6290 4.4)."""
    notify = message.notify(_KIND)
    if notify is not None and _TOKEN_OCTETS <= len(notify.data) <= _LONGEST:
        sa.token = notify.data


async def present_token(core: Core, sa: IkeSa) -> None:
    """After we rekeyed the IKE SA as initiator (RFC 6290 4.3). --> HDR, SK {N(QCD_TOKEN)}   <-- HDR, SK {}"""
    if tokens := offer_token(core, sa):
        await ask_peer(ExchangeType.INFORMATIONAL, tokens)


def proves_loss(sa: IkeSa, message: Message) -> bool:
    """Whether an unprotected message holds the very token that the peer gave us under protection."""
    return bool(sa.token) and any(
        hmac.compare_digest(notify.data, sa.token) for notify in message.notifies(_KIND)[:_MOST_TOKENS]
    )


def answer_unknown(core: Core, header: Header, datagram: bytes) -> bytes:
    """The answer to a protected request for an IKE SA that is not here; raises Drop where none is due.

    <-- HDR, N(INVALID_IKE_SPI), N(QCD_TOKEN)

    In the open (RFC 6290 4.5, RFC 7296 2.21.4), and never longer than the request.
    """
    asks = not header.response and header.exchange in (ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL)
    if not asks or header.next_payload not in (PayloadType.SK, PayloadType.SKF):
        raise Drop("unknown SPI")
    # RFC 6290 9.2: whoever reads our datagrams knows both SPIs, and must not get the token of an SA that lives
    if header.spi_i in core.sas or header.spi_r in core.sas or bytes(8) in (header.spi_i, header.spi_r):
        raise Drop("unknown SPI, of two that do not belong together")
    if not core.crash_secret or not core.rates.answers.take(core.now):
        raise Drop("unknown SPI, not answered")
    token = wire.Notify(Protocol.IKE, b"", _KIND, _token(core, header.spi_i, header.spi_r))
    answer = Message(
        header.spi_i, header.spi_r, header.exchange, not header.initiator, True, header.message_id, [token]
    )
    short = build(answer)
    answer.payloads.insert(0, wire.Notify(0, b"", NotifyType.INVALID_IKE_SPI, b""))
    for octets in (build(answer), short):
        if len(octets) <= len(datagram):
            core.count("unknown-spi-answered")
            return octets
    raise Drop("unknown SPI, in too short a request")


def unknown_esp(spi: int) -> bytes:
    """ESP came for an SPI that nobody has, from where we know nobody (RFC 7296 1.5). <-- HDR(0, 0), N(INVALID_SPI)"""
    notify = wire.Notify(0, b"", NotifyType.INVALID_SPI, spi.to_bytes(4))
    return build(Message(bytes(8), bytes(8), ExchangeType.INFORMATIONAL, True, False, 0, [notify]))


def hear_protected(core: Core, sa: IkeSa, message: Message) -> None:
    """What the peer tells inside the SA: a new token, or that ESP of ours found nobody there (RFC 7296 2.21.4)."""
    if sa.state != Lifecycle.ESTABLISHED:
        return
    take_token(sa, message)
    told = message.notify(NotifyType.INVALID_SPI)
    child = sa.child_by_spi_out(int.from_bytes(told.data)) if told and len(told.data) == 4 else None
    if child is not None:
        text = f"{sa.peer_name} received ESP of CHILD_SA {child.name} and does not know it (INVALID_SPI)"
        core.event("child-sa.unknown-to-peer", text, sa.peer_name, child=child.name, child_sa=child.id, ike_sa=sa.id)
