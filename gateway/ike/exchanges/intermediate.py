"""IKE_INTERMEDIATE with additional key exchanges, both roles (RFC 9242, RFC 9370 2.2.2)."""

from gateway.crypto import groups
from gateway.crypto.keys import ike_keys, rekey_skeyseed
from gateway.crypto.rows import KeyExchangeMethod
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.exchanges.errors import error_in
from gateway.ike.flow import ask_peer
from gateway.ike.intermediate import Intermediate
from gateway.ike.lifecycle import keys_made
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, name_of

SUPPORTED = wire.Notify(0, b"", NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED, b"")


async def exchange_more_keys(core: Core, sa: IkeSa) -> None:
    """As initiator, one exchange for each additional key exchange that was agreed on.

    --> HDR, SK {KEi(n)}
    <-- HDR, SK {KEr(n)}        then new keys, from SK_d and SK(n)
    """
    assert sa.chosen is not None and sa.chosen.prf is not None
    prf = sa.chosen.prf
    for method in sa.chosen.following:
        assert sa.keys is not None
        if sa.intermediate is None:
            sa.intermediate = Intermediate()
        offer = groups.offer(method.number, core.random)
        request: list[wire.Payload] = [wire.KE(method.number, offer.public)]
        sent = _message(sa, sa.requests.next_id, response=False)
        response = await ask_peer(ExchangeType.IKE_INTERMEDIATE, request)
        shared = _finish(core, sa, response, method, offer)
        sa.intermediate.cover(prf, sa.keys, sent, request)
        sa.intermediate.cover(prf, sa.keys, response, response.payloads)
        _add(sa, shared)
        turn_keys(core, sa)


def _message(sa: IkeSa, message_id: int, *, response: bool) -> Message:
    return Message(sa.spi_i, sa.spi_r, ExchangeType.IKE_INTERMEDIATE, sa.initiator, response, message_id, [])


def _finish(core: Core, sa: IkeSa, response: Message, method: KeyExchangeMethod, offer: groups.Offer) -> bytes:
    error = error_in(response)
    if error is not None:
        why = f"the peer answered {name_of(NotifyType, error.type)} to the key exchange {method.label}"
        raise core.give_up(sa, "peer-error", Step.ALGORITHMS, None, why)
    ke = response.one(wire.KE)
    try:
        if ke.method != method.number:
            raise groups.InvalidPublic(f"it is for method {ke.method}, not for {method.label}")
        return offer.finish(ke.data)
    except groups.InvalidPublic as error:
        why = f"the peer's additional key exchange is invalid: {error}"
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why) from None


def _add(sa: IkeSa, shared: bytes) -> None:
    """SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr), and seven keys from it."""
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None and sa.intermediate is not None
    chosen, prf = sa.chosen, sa.chosen.prf
    seed = rekey_skeyseed(prf, sa.keys.d, shared, sa.nonce_i, sa.nonce_r)
    keys = ike_keys(prf, seed, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)
    sa.intermediate.next_keys = keys
    sa.intermediate.done += 1


def turn_keys(core: Core, sa: IkeSa) -> None:
    """The keys that the last exchange made are good from the next message on."""
    assert sa.chosen is not None
    if sa.intermediate is None or sa.intermediate.next_keys is None:
        return
    sa.keys, sa.intermediate.next_keys = sa.intermediate.next_keys, None
    chosen, sa.intermediate.before = sa.chosen, sa.protection
    sa.protection = Protection(chosen.encr, chosen.integ, sa.keys, initiator=sa.initiator, random=core.random)
    done = sa.intermediate.done
    keys_made(core, sa, intermediate=done + 1 if done < len(chosen.following) else 0)


def answer_intermediate(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """As responder; anything but the key exchange that is due ends the IKE SA.

    --> HDR, SK {KEi(n)}
    <-- HDR, SK {KEr(n)}
    """
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    if sa.intermediate is None:
        sa.intermediate = Intermediate()
    state = sa.intermediate
    if state.done >= len(sa.chosen.following):
        why = "the peer goes on with key exchanges that were not agreed on"
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why)
    method = sa.chosen.following[state.done]
    ke = request.maybe(wire.KE)
    if ke is None or ke.method != method.number:
        why = f"the peer's next key exchange should be {method.label}, and is not"
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why)
    core.admission.worked(sa.path.remote, method, core.now)
    try:
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        why = f"the peer's additional key exchange is invalid: {error}"
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why) from None
    response: list[wire.Payload] = [wire.KE(method.number, public)]
    state.cover(sa.chosen.prf, sa.keys, request, request.payloads)
    state.cover(sa.chosen.prf, sa.keys, _message(sa, request.message_id, response=True), response)
    _add(sa, shared)
    return response


def check_complete(core: Core, sa: IkeSa) -> None:
    """No proof is heard before all key exchanges are done that were agreed on: to leave one out is to downgrade."""
    assert sa.chosen is not None
    done = sa.intermediate.done if sa.intermediate else 0
    left = sa.chosen.following[done:]
    if left:
        why = f"the peer went on to IKE_AUTH without the key exchange {left[0].label} that was agreed on"
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why)
