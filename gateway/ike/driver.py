"""Runs exchange scripts: sends what they ask, resumes them with what came back, and ends what went wrong."""

from gateway.ike import asking, attempt_log, losses, quantum
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.effects import Locate, Solve
from gateway.ike.flow import AskOutside, AskPeer, AskSolution, AskWhere, Closed, Question, Script, TimedOut, Unreachable
from gateway.ike.fragments import PROBES, room, smaller
from gateway.ike.lifecycle import close
from gateway.ike.plane import Refused
from gateway.ike.protect import Protection
from gateway.ike.sa import OPENING, IkeSa, Lifecycle, Task
from gateway.ike.whereabouts import look_elsewhere, look_up
from gateway.ike.window import Pending
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol, name_of
from gateway.wire.outcome import Close, Reject

_LAST_MESSAGE_ID = 0xFFFFFFFF
_BETTER_ANSWER = 5.0
"""Seconds for which an opening that was refused is still asked for, in case that somebody else refused it."""
_LOOK_ELSEWHERE = 3
"""With so many transmissions unanswered, a peer with MOBIKE is tried at other addresses too."""
_LOOK_UP = 4
"""With so many, a peer that was found by its name may be somewhere else altogether."""


def start(core: Core, sa: IkeSa, task: Task) -> None:
    """Run the task now, or when the SA's turn comes: one request is outstanding at a time (RFC 7296 2.3)."""
    if sa.state == Lifecycle.CLOSED:
        return
    sa.tasks.append(task)
    next_task(core, sa)


def next_task(core: Core, sa: IkeSa) -> None:
    while sa.tasks and not sa.requests.busy and sa.state != Lifecycle.CLOSED:
        task = sa.tasks.pop(0)
        advance(core, sa, task.begin(sa), task.label)


def advance(
    core: Core,
    sa: IkeSa,
    script: Script[None],
    label: str,
    answer: object = None,
    error: Exception | None = None,
) -> None:
    """Take the script to its next question or its end."""
    try:
        question = script.throw(error) if error else script.send(answer)
    except StopIteration:
        next_task(core, sa)
    except Closed:
        next_task(core, sa)
    except Reject as reject:
        _rejected(core, sa, label, reject.why)
    except Refused as refused:
        _rejected(core, sa, label, refused.why, "data-plane")
    except Close as closing:
        close(core, sa, closing.why)
    except TimedOut as timeout:
        _unanswered(core, sa, timeout)
    except Unreachable as unreachable:
        close(core, sa, unreachable.why, "unreachable")
    else:
        _ask(core, sa, script, question, label)


def _ask(core: Core, sa: IkeSa, script: Script[None], question: Question, label: str) -> None:
    """Put the question; the script waits."""
    if isinstance(question, AskPeer):
        _transmit(core, sa, question, script, label)
        return
    sa.requests.waiting = script
    match question:
        case AskWhere():
            token = core.number("where")
            core.asked_where[token] = sa
            core.out.append(Locate(token, question.host, question.sources, question.turn))
        case AskSolution():
            token = core.number("where")
            core.asked_where[token] = sa
            core.out.append(Solve(token, question.prf, question.data, question.difficulty))
        case AskOutside():
            asking.ask(core, sa, question)


def _unanswered(core: Core, sa: IkeSa, timeout: TimedOut) -> None:
    """The end of patience. Who answered IKE_SA_INIT and nothing large after it is not silent: something gets lost."""
    why = f"the peer does not answer: {timeout}"
    if sa.state != Lifecycle.CONNECTING or sa.protection is None:
        close(core, sa, why, "timeout")
    elif not timeout.lost:
        close(core, sa, why, "timeout-auth")
    else:
        if timeout.label == ExchangeType.IKE_INTERMEDIATE.name and sa.peer is not None:
            quantum.fall_back(core, sa.peer)
        why = f"the peer answered IKE_SA_INIT, but there is {timeout}"
        close(core, sa, why, losses.CAUSE)


def _rejected(core: Core, sa: IkeSa, label: str, why: str, cause: str = "peer-error") -> None:
    """An exchange of ours failed: while connecting that is the end, later the SA lives on."""
    if sa.state == Lifecycle.CONNECTING:
        close(core, sa, why, cause)
        return
    if sa.attempt:
        attempt_log.fail(sa.attempt, core.now, cause, why, Step.NETWORKS)
        sa.attempt = None
    core.event("exchange.failed", f"{label} with {sa.peer_name} failed: {why}", sa.peer_name, ike_sa=sa.id, why=why)
    if sa.peer:
        core.children_lost.append((sa.peer.name, label))
    next_task(core, sa)


def _transmit(core: Core, sa: IkeSa, question: AskPeer, script: Script[None], label: str) -> None:
    message_id = 0 if question.turn else sa.requests.next_id
    if message_id > _LAST_MESSAGE_ID:  # RFC 7296 2.2: they must not wrap
        advance(core, sa, script, label, error=Close(None, "its message IDs are used up"))
        return
    request = Message(sa.spi_i, sa.spi_r, question.exchange, sa.initiator, False, message_id, question.payloads)
    if question.exchange in OPENING:
        request.spi_r = bytes(8)
        sa.init_request = build(request)
        datagrams: tuple[bytes, ...] = (sa.init_request,)
    else:
        assert sa.protection is not None
        plain = Message(sa.spi_i, sa.spi_r, question.exchange, sa.initiator, False, message_id, [])
        if question.exchange == ExchangeType.IKE_AUTH and (solution := core.extensions.solutions.pop(sa.our_spi, None)):
            plain.payloads.append(solution)
        datagrams = sa.protection.seal_within(plain, question.payloads, room(sa.path, sa.fragmentation))
    octets = sum(map(len, datagrams))
    attempt_log.see(sa.attempt if sa.state == Lifecycle.CONNECTING else None, core.now, request, octets, outgoing=True)
    about_child = question.exchange == ExchangeType.IKE_FOLLOWUP_KE or any(
        isinstance(one, wire.TSi) or (isinstance(one, wire.Delete) and one.protocol == Protocol.ESP)
        for one in question.payloads
    )
    sa.requests.pending = Pending(
        message_id, question.exchange, datagrams, label, script, about_child, question.turn or 1, question.tries
    )
    sa.requests.pending.payloads, sa.requests.pending.synchronises = question.payloads, question.turn > 0
    core.send_all(datagrams, sa.path, sa.dscp)
    _arm(core, sa)


def _arm(core: Core, sa: IkeSa) -> None:
    pending = sa.requests.pending
    assert pending is not None and sa.peer is not None
    when = core.now + sa.peer.retransmission.wait(pending.sent, core.chance())
    core.timers.set(("retransmit", sa), min(when, pending.until) if pending.refusal else when)


def refused(core: Core, sa: IkeSa, refusal: Close) -> None:
    """The answer to an opening is an error, under no protection: a better one may come yet (RFC 7296 2.21.1)."""
    pending = sa.requests.pending
    assert pending is not None
    if pending.refusal is None:
        pending.until = core.now + _BETTER_ANSWER
        core.count("refusals-doubted")
    pending.refusal = refusal
    due = core.timers.when(("retransmit", sa))
    core.timers.set(("retransmit", sa), min(due or pending.until, pending.until))


def retransmit(core: Core, sa: IkeSa) -> None:
    """The wait for a response is over: the same octets again, or the end of patience (RFC 7296 2.1, 2.4).

    Where none is under way, what waits for its turn begins.
    """
    pending = sa.requests.pending
    if pending is None or sa.peer is None:
        next_task(core, sa)
        return
    out_of_patience = pending.sent >= (pending.tries or sa.peer.retransmission.tries)
    if pending.refusal and (out_of_patience or core.now >= pending.until):
        sa.requests.pending = None
        advance(core, sa, pending.script, pending.label, error=pending.refusal)
        return
    if out_of_patience:
        sa.requests.pending = None
        exchange = name_of(ExchangeType, pending.exchange)
        lost = losses.of_request(sa, pending) if pending.exchange not in OPENING else ""
        advance(core, sa, pending.script, pending.label, error=TimedOut(exchange, pending.sent, lost))
        return
    pending.sent += 1
    if pending.sent == _LOOK_UP:
        look_up(core, sa)
    core.count("retransmitted")
    if pending.exchange not in OPENING and pending.sent > PROBES:
        datagrams = shrink(core, sa, sa.protection, pending.datagrams)
        if datagrams is not pending.datagrams:
            pending.datagrams, pending.sent = datagrams, 1  # RFC 7383 2.5.2: a new probe starts the timers over
    core.send_all(pending.datagrams, sa.path, sa.dscp)
    if sa.mobility is not None and sa.mobility.leads:
        for path in sa.mobility.probes:
            core.send_all(pending.datagrams, path, sa.dscp)
        if pending.sent == _LOOK_ELSEWHERE and not sa.mobility.probes:
            look_elsewhere(core, sa)
    _arm(core, sa)


def resend(core: Core, sa: IkeSa) -> None:
    """The SA has another path: the request under way goes there at once, with all patience again."""
    if (pending := sa.requests.pending) is not None:
        pending.sent = 1
        core.send_all(pending.datagrams, sa.path, sa.dscp)
        _arm(core, sa)


def shrink(core: Core, sa: IkeSa, protection: Protection | None, datagrams: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """What we sealed seems to get lost: in smaller fragments, where that was agreed and makes a difference."""
    size: int | None = sa.fragmentation
    while protection and size and (size := smaller(sa.path, size)):
        again = protection.fragmented(datagrams, room(sa.path, size))
        if again is not datagrams:
            sa.fragmentation = size
            core.count("fragmented-smaller")
            return again
    return datagrams


def answered(core: Core, sa: IkeSa, response: Message) -> None:
    """The response to our pending request is here, opened and matched."""
    pending = sa.requests.pending
    assert pending is not None
    sa.requests.pending = None
    core.timers.cancel(("retransmit", sa))
    if pending.exchange not in OPENING and not pending.synchronises:
        sa.requests.next_id = pending.message_id + 1
    advance(core, sa, pending.script, pending.label, response)


def renumber(core: Core, sa: IkeSa, next_id: int) -> None:
    """The peer failed over and does not know what we asked of it (RFC 6311 9): our requests go on from here.

    What can be asked twice goes out again under its new number. A CREATE_CHILD_SA cannot: the failed member may have
    answered it. It ends as if the peer wanted to be asked again later, with new keys.
    """
    requests = sa.requests
    pending, requests.next_id = requests.pending, max(next_id, requests.next_id)
    if pending is None or pending.synchronises:
        return
    requests.pending = None
    core.timers.cancel(("retransmit", sa))
    requests.discard()
    if pending.exchange == ExchangeType.INFORMATIONAL:
        question = AskPeer(pending.exchange, pending.payloads, pending.tries)
        _transmit(core, sa, question, pending.script, pending.label)
        return
    why = "the peer failed over before it answered, and is asked again later"
    advance(core, sa, pending.script, pending.label, error=Reject(NotifyType.TEMPORARY_FAILURE, why))


def failed(core: Core, sa: IkeSa, error: Exception) -> None:
    """The response is the peer's but makes no sense: raise that where the script waits."""
    pending = sa.requests.pending
    assert pending is not None
    sa.requests.pending = None
    core.timers.cancel(("retransmit", sa))
    sa.requests.next_id = pending.message_id + 1
    advance(core, sa, pending.script, pending.label, error=error)


def solved(core: Core, token: int, solution: bytes) -> None:
    """The outside answered AskSolution."""
    sa = core.asked_where.pop(token, None)
    if sa is not None and sa.state != Lifecycle.CLOSED and sa.requests.waiting is not None:
        script, sa.requests.waiting = sa.requests.waiting, None
        advance(core, sa, script, "solving the peer's puzzle", solution)


def outside_answered(core: Core, sa: IkeSa, answer: object, error: Exception | None) -> None:
    """The outside answered AskOutside, or nobody did."""
    script, sa.requests.waiting = sa.requests.waiting, None
    if script is not None:
        advance(core, sa, script, "asking about the peer's certificate", answer, error)


def located(core: Core, token: int, found: tuple[str, str] | None, why: str) -> None:
    """The outside answered AskWhere."""
    sa = core.asked_where.pop(token, None)
    if sa is None or sa.state == Lifecycle.CLOSED or sa.requests.waiting is None:
        return
    script, sa.requests.waiting = sa.requests.waiting, None
    if found is None:
        advance(core, sa, script, "finding the peer", error=Unreachable(why))
    else:
        advance(core, sa, script, "finding the peer", found)


def waiting_for(sa: IkeSa) -> str:
    """What the SA waits for, in words taken from the question itself."""
    if pending := sa.requests.pending:
        tries = f", try {pending.sent} of {pending.tries or sa.peer.retransmission.tries}" if sa.peer else ""
        if pending.refusal:
            return f"refused by who may be somebody else, waiting for a better answer{tries}"
        return f"waiting for the {name_of(ExchangeType, pending.exchange)} response{tries}"
    if sa.requests.waiting:
        if sa.asked:
            return "asking whether the peer's certificate was revoked"
        if sa.attempt and sa.attempt.steps:
            return "solving the peer's puzzle"
        return "finding the peer's address"
    return ""
