"""IKE_FOLLOWUP_KE: the key exchanges after a CREATE_CHILD_SA that agreed on several, both roles (RFC 9370 2.2.4)."""

from collections.abc import Callable, Sequence

from gateway.crypto import groups
from gateway.crypto.rows import KeyExchangeMethod
from gateway.ike import attempt_log
from gateway.ike.attempts import Attempt, Step
from gateway.ike.core import Core
from gateway.ike.exchanges.collisions import refuse_while_leaving
from gateway.ike.exchanges.errors import error_in
from gateway.ike.flow import ask_peer
from gateway.ike.following import PATIENCE, Following
from gateway.ike.lifecycle import stop_following
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from gateway.wire.outcome import Reject

_LINK_OCTETS = 8
_LONGEST_LINK = 1024


async def follow_up(core: Core, response: Message, methods: Sequence[KeyExchangeMethod]) -> bytes:
    """As initiator: the secrets of all of them, one after the other. Raises Reject when the peer does not go on.

    --> HDR, SK {KEi(n), N(ADDITIONAL_KEY_EXCHANGE)(link)}
    <-- HDR, SK {KEr(n), [N(ADDITIONAL_KEY_EXCHANGE)(link)]}
    """
    secrets = b""
    for method in methods:
        link = response.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
        if link is None or len(link.data) > _LONGEST_LINK:
            why = f"the peer agreed on the key exchange {method.label}, but does not say how to go on"
            raise Reject(NotifyType.INVALID_SYNTAX, why)
        offer = groups.offer(method.number, core.random)
        linked = wire.Notify(0, b"", NotifyType.ADDITIONAL_KEY_EXCHANGE, link.data)
        response = await ask_peer(ExchangeType.IKE_FOLLOWUP_KE, [wire.KE(method.number, offer.public), linked])
        error = error_in(response)
        if error is not None:
            why = f"the peer answered {name_of(NotifyType, error.type)} to the key exchange {method.label}"
            raise Reject(error.type, why)
        ke = response.one(wire.KE)
        try:
            if ke.method != method.number:
                raise groups.InvalidPublic(f"it is for method {ke.method}, not for {method.label}")
            secrets += offer.finish(ke.data)
        except groups.InvalidPublic as problem:
            raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {problem}") from None
    return secrets


def expect_more(
    core: Core,
    sa: IkeSa,
    methods: tuple[KeyExchangeMethod, ...],
    finish: Callable[[bytes], list[wire.Payload]],
    abandon: Callable[[], None],
    attempt: Attempt,
) -> wire.Notify:
    """As responder: wait for these key exchanges; the answer's notify links the first of them to this exchange.

    `finish` ends the attempt well.
    """

    def give_up() -> None:
        abandon()
        why = "the peer did not go on with its additional key exchanges"
        attempt_log.fail(attempt, core.now, "peer-error", why, Step.ALGORITHMS)

    stop_following(core, sa)
    following = Following(core.random(_LINK_OCTETS), methods, finish, give_up)
    core.extensions.following[sa.id] = following
    core.timers.set(("follow-up", sa), core.now + PATIENCE)
    return _linked(following)


def _linked(following: Following) -> wire.Notify:
    return wire.Notify(0, b"", NotifyType.ADDITIONAL_KEY_EXCHANGE, following.link)


def answer_followup(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """As responder: the next key exchange, or the last, which makes the SA. Raises Reject.

    --> HDR, SK {KEi(n), N(ADDITIONAL_KEY_EXCHANGE)(link)}
    <-- HDR, SK {KEr(n), [N(ADDITIONAL_KEY_EXCHANGE)(link)]}   or N(STATE_NOT_FOUND)

    On an IKE SA that was replaced or is being closed meanwhile nothing is made any more (RFC 7296 2.25.2).
    """
    if sa.state != Lifecycle.ESTABLISHED:
        stop_following(core, sa)
        refuse_while_leaving(sa)
    following = core.extensions.following.get(sa.id)
    link = request.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    if following is None or link is None or link.data != following.link:
        raise Reject(NotifyType.STATE_NOT_FOUND, "the peer goes on with a CREATE_CHILD_SA that we know nothing of")
    method, *rest = following.methods
    try:
        ke = request.one(wire.KE)
        if ke.method != method.number:
            raise groups.InvalidPublic(f"it is for method {ke.method}, not for {method.label}")
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except (Reject, groups.InvalidPublic) as problem:
        stop_following(core, sa)
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's additional key exchange is invalid: {problem}") from None
    following.secrets += shared
    following.methods = tuple(rest)
    answer: list[wire.Payload] = [wire.KE(method.number, public)]
    if rest:
        following.link = core.random(_LINK_OCTETS)
        core.timers.set(("follow-up", sa), core.now + PATIENCE)
        return [*answer, _linked(following)]
    del core.extensions.following[sa.id]
    core.timers.cancel(("follow-up", sa))
    return answer + following.finish(following.secrets)
