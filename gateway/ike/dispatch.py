"""The way of a datagram: to the IKE SA that it belongs to, as a request or as the response that is waited for."""

from gateway.ike import attempt_log, driver
from gateway.ike.answering import answer_request
from gateway.ike.core import Core
from gateway.ike.exchanges import failover, mobike
from gateway.ike.exchanges.entry import answer_init, answer_other_version, answer_resume
from gateway.ike.exchanges.init import check_init_response, refusal_of
from gateway.ike.opening import open_message
from gateway.ike.outside import hear_stranger, hear_unprotected, is_unprotected
from gateway.ike.path import Path
from gateway.ike.sa import OPENING, IkeSa, Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Header, parse, parse_header
from gateway.wire.numbers import ExchangeType
from gateway.wire.outcome import Drop, Reject

_INIT_OCTETS = 16_384
"""Nobody needs more before he is known, and parsing it costs us more than sending it costs him."""


def dispatch(core: Core, datagram: bytes, path: Path) -> None:
    header = parse_header(datagram)
    if header.major != 2:
        answer_other_version(core, header, datagram, path)
        return
    if header.exchange in OPENING and not header.response:
        _init_request(core, header, datagram, path)
        return
    sa = core.sas.get(header.spi_r if header.initiator else header.spi_i)
    # the I flag tells who began the IKE SA (RFC 7296 3.1): it must not be our own role
    if sa is None or sa.initiator is header.initiator:
        hear_stranger(core, header, datagram, path)
    elif is_unprotected(header):
        hear_unprotected(core, sa, datagram)
    elif header.response:
        _response(core, sa, header, datagram, path)
    else:
        answer_request(core, sa, header, datagram, path)


def _init_request(core: Core, header: Header, datagram: bytes, path: Path) -> None:
    if not header.initiator or header.message_id != 0 or header.spi_r != bytes(8) or header.spi_i == bytes(8):
        raise Drop("opening with a wrong header")
    opening = core.openings.get((path.remote, path.port, header.spi_i))
    if opening is not None:
        if not opening.responses.is_repeat(0, datagram):
            raise Drop("IKE_SA_INIT again, but after its answer or different")
        core.count("repeated")
        core.send_all(opening.responses.last_response, path)
        return
    ours = core.sas.get(header.spi_i)
    if ours is not None and ours.initiator:  # who reflects all that we send would make us our own peer
        raise Drop("our own IKE_SA_INIT came back")
    if len(datagram) > _INIT_OCTETS:
        raise Drop("IKE_SA_INIT too large")
    answer = answer_init if header.exchange == ExchangeType.IKE_SA_INIT else answer_resume
    answer(core, parse(datagram), datagram, path)


def _response(core: Core, sa: IkeSa, header: Header, datagram: bytes, path: Path) -> None:
    pending = sa.requests.pending
    if pending is None or header.message_id != pending.message_id or header.exchange != pending.exchange:
        raise Drop("response to nothing that we asked")
    message = parse(datagram)
    if pending.exchange in OPENING:
        if message.payloads and isinstance(message.payloads[-1], wire.SK | wire.SKF):
            raise Drop("encrypted before there are keys")
        check_init_response(sa, message)
        if refusal := refusal_of(core, sa, message):
            attempt_log.see(sa.attempt, core.now, message, len(datagram), outgoing=False)
            driver.refused(core, sa, refusal)
            return
        if pending.refusal:
            attempt_log.reopen(sa.attempt)
        sa.init_response = datagram
    else:
        if header.spi_i != sa.spi_i or header.spi_r != sa.spi_r or sa.protection is None:
            raise Drop("unknown SPI")
        try:
            if not open_message(core, sa, sa.requests, message, datagram):
                return
        except Reject as reject:
            if pending.synchronises:
                raise Drop(reject.why) from None
            driver.failed(core, sa, reject)
            return
        if pending.synchronises:
            failover.check_response(pending, message)
    sa.last_heard = core.now
    if sa.state == Lifecycle.CONNECTING:
        attempt_log.see(sa.attempt, core.now, message, len(datagram), outgoing=False)
    mobike.arrived(core, sa, path)
    driver.answered(core, sa, message)
