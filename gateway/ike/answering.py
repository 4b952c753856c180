"""A request that comes under an IKE SA's protection: taken in its turn, run by its exchange's script, answered."""

from collections.abc import Callable
from functools import partial

from gateway.ike import asking, attempt_log, driver
from gateway.ike.core import Core
from gateway.ike.effects import Withdraw
from gateway.ike.exchanges import auth_puzzle, failover, mobike
from gateway.ike.exchanges.auth_answer import answer_auth
from gateway.ike.exchanges.child_answer import answer_create_child
from gateway.ike.exchanges.followup import answer_followup
from gateway.ike.exchanges.informational import answer_informational
from gateway.ike.exchanges.intermediate import answer_intermediate, turn_keys
from gateway.ike.exchanges.rekey import answer_rekey_sa
from gateway.ike.flow import AskOutside, NoAnswer, Respond, Script
from gateway.ike.fragments import room
from gateway.ike.lifecycle import close, stop_following
from gateway.ike.moving import follow
from gateway.ike.opening import check_repeat, open_message, repeat_response
from gateway.ike.path import Path
from gateway.ike.protect import Unopened
from gateway.ike.sa import ALLOWED, IkeSa, Lifecycle
from gateway.ike.succession import heard
from gateway.ike.window import Held
from gateway.wire import payloads as wire
from gateway.wire.message import Header, Message, parse
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from gateway.wire.outcome import Close, Drop, Reject


def answer_request(core: Core, sa: IkeSa, header: Header, datagram: bytes, path: Path) -> None:
    """A request for an IKE SA of ours: its next one is answered, the last one gets the same answer. Raises Drop."""
    if header.spi_i != sa.spi_i or header.spi_r != sa.spi_r:
        raise Drop("unknown SPI")
    if sa.protection is None:
        auth_puzzle.unlock(core, sa, datagram)
    if not _is_new(core, sa, header, datagram, path):
        return
    message = parse(datagram)
    head = _open(core, sa, message, datagram, path)
    if not head:
        return
    sa.last_heard, sa.requests.silent = core.now, b""
    heard(core, sa, message)
    if sa.state == Lifecycle.CONNECTING:
        sa.path = path if path.local == sa.path.local else sa.path
    elif sa.mobility is None:  # RFC 4555 3.8: else only UPDATE_SA_ADDRESSES moves it
        follow(core, sa, path)
    if sa.state == Lifecycle.CONNECTING:
        attempt_log.see(sa.attempt, core.now, message, len(datagram), outgoing=False)
    _answer(core, sa, Held(message, head, path), partial(core.answers, core, sa, message))


def _is_new(core: Core, sa: IkeSa, header: Header, datagram: bytes, path: Path) -> bool:
    """Whether the request is the one whose turn it is, and not one that is answered without its script. Raises Drop."""
    if sa.responses.is_repeat(header.message_id, datagram):
        repeat_response(core, sa, path)
        return False
    if header.message_id == sa.responses.expected - 1 and sa.fragmentation and sa.responses.last_response:
        check_repeat(sa, parse(datagram), datagram)
        repeat_response(core, sa, path)
        return False
    if header.message_id not in (0, sa.responses.expected):
        raise Drop("message ID outside the window")
    if header.exchange not in ALLOWED[sa.state] or (sa.initiator and sa.state == Lifecycle.CONNECTING):
        raise Drop("exchange not allowed in this state")
    if header.message_id == 0 and failover.answers(core, sa, header, datagram, path):
        return False
    if header.message_id != sa.responses.expected:
        raise Drop("message ID outside the window")
    if sa.responses.held is not None:
        raise Drop("request again, while its answer is being sought")
    if sa.requests.pending is not None and sa.requests.pending.synchronises:
        # RFC 6311 8.1: the peer may no longer wait for our answer to it, and asks again
        raise Drop("a request before message IDs were agreed on")
    return True


def _open(core: Core, sa: IkeSa, message: Message, datagram: bytes, path: Path) -> bytes | None:
    """Decrypt the next request in place, as `open_message` does; one that makes no sense is answered here."""
    try:
        return open_message(core, sa, sa.responses, message, datagram)
    except Unopened:
        if sa.state == Lifecycle.CONNECTING:
            core.admission.forged(core.now)
        raise
    except Reject as reject:
        connecting = sa.state == Lifecycle.CONNECTING
        error = wire.Notify(0, b"", reject.notify, reject.data)
        _respond(core, sa, message, datagram, path, [error], seen=connecting)
        if connecting:  # RFC 7296 2.21.2: an IKE_AUTH that makes no sense ends what it was to finish
            _end(core, sa, reject.why, "syntax")
        return None


def _answer(core: Core, sa: IkeSa, held: Held, begin: Callable[[], list[wire.Payload] | None]) -> None:
    """Answer with what `begin` gives; None waits, for the outside or for the end of a rekey of ours."""
    if _give(core, sa, held, begin):
        driver.next_task(core, sa)
        if sa.replaced_by is not None:
            driver.next_task(core, sa.replaced_by)


def _give(core: Core, sa: IkeSa, held: Held, begin: Callable[[], list[wire.Payload] | None]) -> bool:
    """Answer; whether that was done and the SA goes on."""
    sa.responses.held = None
    request, path = held.request, held.path
    ending: str | None = None
    connecting = sa.state == Lifecycle.CONNECTING
    try:
        payloads = begin()
        if payloads is None:
            sa.responses.held = held
            if sa.responses.script is None:
                sa.responses.crossing = partial(_give, core, sa, held, begin)
            return False
        if request.exchange == ExchangeType.INFORMATIONAL:
            payloads += mobike.answer(core, sa, request, path)
    except Reject as reject:
        protocol = Protocol.ESP if reject.esp_spi else 0
        payloads = [wire.Notify(protocol, reject.esp_spi, reject.notify, reject.data)]
        if connecting:
            ending = reject.why
    except Close as closing:
        payloads = [wire.Notify(0, b"", closing.notify, closing.data)] if closing.notify else []
        payloads += [closing.parting] if closing.parting else []
        ending = closing.why
    _respond(core, sa, request, held.datagram, path, payloads, seen=connecting)
    if connecting:
        turn_keys(core, sa)
    if ending is not None:
        _end(core, sa, ending, "peer-error")
    elif sa.state == Lifecycle.DELETING and sa.reason:
        _end(core, sa, sa.reason, "peer-error")
    else:
        return True
    return False


def _end(core: Core, sa: IkeSa, why: str, cause: str) -> None:
    """Our answer was the last word of this IKE SA; the peer may ask for it again."""
    core.extensions.last_answers.keep(sa, core.now)
    if core.timers.when(("last-answers",)) is None:
        forget_answers(core)
    close(core, sa, why, cause)


def forget_answers(core: Core) -> None:
    """Last answers that nobody asks for any more go; again when the next one's time has come."""
    if (then := core.extensions.last_answers.forget(core.now)) is not None:
        core.timers.set(("last-answers",), then)


def script(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
    """What this request is answered with, by its exchange; None waits for the outside. Raises Reject and Close."""
    if request.exchange == ExchangeType.IKE_AUTH:
        return _authenticate(core, sa, request)
    if request.exchange == ExchangeType.IKE_INTERMEDIATE:
        return answer_intermediate(core, sa, request)
    if request.exchange == ExchangeType.INFORMATIONAL:
        if request.notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC):
            failover.hear_skip(core, sa, request)
        return answer_informational(core, sa, request)
    if request.exchange == ExchangeType.IKE_FOLLOWUP_KE:
        return answer_followup(core, sa, request)
    stop_following(core, sa)  # who begins anew has given up what it began before
    proposals = request.one(wire.SA).proposals
    if proposals and proposals[0].protocol == Protocol.IKE:
        return answer_rekey_sa(core, sa, request)
    return answer_create_child(core, sa, request)


def _authenticate(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
    """IKE_AUTH may take several requests: its script goes on with this one. Raises Reject and Close."""
    waiting, sa.responses.script = sa.responses.script, None
    running = waiting or answer_auth(core, sa, request)
    return _go_on(core, sa, running, request if waiting else None)


def _go_on(
    core: Core, sa: IkeSa, running: Script[list[wire.Payload]], answer: object = None, error: Exception | None = None
) -> list[wire.Payload] | None:
    """Take the script to its next question or its end."""
    try:
        question = running.throw(error) if error else running.send(answer)
    except StopIteration as done:
        payloads: list[wire.Payload] = done.value
        return payloads
    assert isinstance(question, Respond | AskOutside)
    sa.responses.script = running
    patience = core.snapshot.settings.half_open_timeout
    if isinstance(question, AskOutside):
        asking.ask(core, sa, question)
        core.timers.set(("half-open", sa), core.now + question.patience + patience)
        return None
    core.timers.set(("half-open", sa), core.now + patience)
    return question.payloads


def outside_answered(core: Core, token: int, answer: object, error: NoAnswer | None = None) -> None:
    """Go on with what waits for this answer, if it still does."""
    sa = asking.heard(core, token)
    if sa is not None and sa.initiator and sa.requests.waiting is not None:
        driver.outside_answered(core, sa, answer, error)
        return
    held, running = (sa.responses.held, sa.responses.script) if sa else (None, None)
    if sa is None or held is None or running is None:
        return
    sa.responses.held = sa.responses.script = None
    _answer(core, sa, held, partial(_go_on, core, sa, running, answer, error))


def outside_silent(core: Core, sa: IkeSa) -> None:
    """Patience with the outside is at its end."""
    token = sa.asked
    core.out.append(Withdraw(token))
    outside_answered(core, token, None, NoAnswer("there was no answer in time"))


def _respond(
    core: Core,
    sa: IkeSa,
    request: Message,
    datagram: bytes,
    path: Path,
    payloads: list[wire.Payload],
    *,
    seen: bool = False,
) -> None:
    """The response goes where the request came from, wherever the SA lives (RFC 7296 2.11)."""
    assert sa.protection is not None
    response = Message(sa.spi_i, sa.spi_r, request.exchange, sa.initiator, True, request.message_id, [])
    sealed = sa.protection.seal_within(response, payloads, room(path, sa.fragmentation))
    sa.responses.answered(request.message_id, datagram, sealed)
    core.send_all(sealed, path, sa.dscp)
    if seen:
        response.payloads = payloads
        attempt_log.see(sa.attempt, core.now, response, sum(map(len, sealed)), outgoing=True)
