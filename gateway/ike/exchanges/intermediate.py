"""IKE_INTERMEDIATE with additional key exchanges and a post-quantum pre-shared key, both roles.

RFC 9242, RFC 9370 2.2.2, RFC 9867 3.1: the pre-shared key goes with the last key exchange, and is mixed in after it.
"""

from gateway.crypto import groups
from gateway.crypto.keys import IkeKeys, ike_keys, ppk_skeyseed, rekey_skeyseed
from gateway.crypto.rows import KeyExchangeMethod
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import ppk, ppk_intermediate
from gateway.ike.core import Core
from gateway.ike.exchanges.errors import error_in
from gateway.ike.flow import ask_peer
from gateway.ike.intermediate import Intermediate
from gateway.ike.lifecycle import keys_made
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa
from gateway.policy.choice import Chosen
from gateway.policy.peers import Peer
from gateway.policy.ppks import Ppk
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from gateway.wire.outcome import Close

SUPPORTED = wire.Notify(0, b"", NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED, b"")


def announced(core: Core, peer: Peer) -> list[wire.Payload]:
    """As initiator: what IKE_SA_INIT says of additional key exchanges and of pre-shared keys."""
    use = ppk.announced(core, peer)
    needed = ppk.USE_INT in use or any(proposal.additional for proposal in peer.proposals)
    return [SUPPORTED, *use] if needed else use


def accepted(chosen: Chosen, agreed: Ability) -> list[wire.Payload]:
    """As responder: the same in our answer; `agreed` is where a pre-shared key is used."""
    early = agreed == Ability.MAY_USE_PPK_INT
    use: list[wire.Payload] = [ppk.USE_INT if early else ppk.USE] if agreed else []
    return [SUPPORTED, *use] if chosen.additional or early else use


def expect(sa: IkeSa, chosen: Chosen) -> None:
    """From now on these exchanges are due before IKE_AUTH, if any are."""
    with_ppk = Ability.MAY_USE_PPK_INT in sa.abilities
    sa.intermediate = Intermediate(chosen.following, with_ppk) if chosen.following or with_ppk else None


async def exchange_more_keys(core: Core, sa: IkeSa) -> None:
    """As initiator, one exchange for each additional key exchange that was agreed on; or one for a PPK alone."""
    while sa.intermediate is not None and sa.intermediate.done < sa.intermediate.rounds:
        await _exchange(core, sa, sa.intermediate)


async def _exchange(core: Core, sa: IkeSa, state: Intermediate) -> None:
    """One of them.

    --> HDR, SK {[KEi(n),] [N(PPK_IDENTITY_KEY, PPK_ID), …]}
    <-- HDR, SK {[KEr(n),] [N(PPK_IDENTITY, PPK_ID)]}        then new keys
    """
    assert sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
    prf, method = sa.chosen.prf, state.left[0] if state.left else None
    offer = groups.offer(method.number, core.random) if method else None
    request: list[wire.Payload] = [wire.KE(method.number, offer.public)] if method and offer else []
    keys = ppk_intermediate.offered(core, sa) if state.with_ppk and len(state.left) <= 1 else []
    request += [ppk_intermediate.notify(sa, key) for key in keys]
    sent = _message(sa, sa.requests.next_id, response=False)
    response = await ask_peer(ExchangeType.IKE_INTERMEDIATE, request)
    _check_error(core, sa, response, method)
    shared = _finish(core, sa, response, method, offer) if method and offer else b""
    used = ppk_intermediate.settle(core, sa, response, keys) if keys else None
    state.cover(prf, sa.keys, sent, request)
    state.cover(prf, sa.keys, response, response.payloads)
    _add(sa, state, shared, used)
    turn_keys(core, sa)


def _message(sa: IkeSa, message_id: int, *, response: bool) -> Message:
    return Message(sa.spi_i, sa.spi_r, ExchangeType.IKE_INTERMEDIATE, sa.initiator, response, message_id, [])


def _check_error(core: Core, sa: IkeSa, response: Message, method: KeyExchangeMethod | None) -> None:
    error = error_in(response)
    if error is not None:
        what = f"the key exchange {method.label}" if method else "our post-quantum pre-shared keys"
        why = f"the peer answered {name_of(NotifyType, error.type)} to {what}"
        raise core.give_up(sa, "peer-error" if method else "ppk", Step.ALGORITHMS, None, why)


def _finish(core: Core, sa: IkeSa, response: Message, method: KeyExchangeMethod, offer: groups.Offer) -> bytes:
    ke = response.one(wire.KE)
    try:
        if ke.method != method.number:
            raise groups.InvalidPublic(f"it is for method {ke.method}, not for {method.label}")
        return offer.finish(ke.data)
    except groups.InvalidPublic as error:
        why = f"the peer's additional key exchange is invalid: {error}"
        raise _nonsense(core, sa, why) from None


def _add(sa: IkeSa, state: Intermediate, shared: bytes, used: Ppk | None) -> None:
    """The seven keys that follow: of the key exchange first, then of the pre-shared key.

    SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr); with a PPK, SKEYSEED' = prf+(PPK, SK_d).
    """
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    prf, keys = sa.chosen.prf, sa.keys
    if shared:
        keys = _expanded(sa, rekey_skeyseed(prf, keys.d, shared, sa.nonce_i, sa.nonce_r))
    if used is not None:
        keys = _expanded(sa, ppk_skeyseed(prf, used.secret, keys.d))
    state.next_keys = keys if keys is not sa.keys else None
    state.done += 1


def _expanded(sa: IkeSa, seed: bytes) -> IkeKeys:
    assert sa.chosen is not None and sa.chosen.prf is not None
    chosen = sa.chosen
    return ike_keys(sa.chosen.prf, seed, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)


def turn_keys(core: Core, sa: IkeSa) -> None:
    """The keys that the last exchange made are good from the next message on."""
    assert sa.chosen is not None
    state = sa.intermediate
    if state is None:
        return
    if state.next_keys is None:  # what protected the last exchange goes on
        state.before = None
        return
    sa.keys, state.next_keys = state.next_keys, None
    chosen, state.before = sa.chosen, sa.protection
    sa.protection = Protection(chosen.encr, chosen.integ, sa.keys, initiator=sa.initiator, random=core.random)
    keys_made(core, sa, intermediate=state.done + 1 if state.done < state.rounds else 0)


def answer_intermediate(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """As responder; anything but what is due ends the IKE SA.

    --> HDR, SK {[KEi(n),] [N(PPK_IDENTITY_KEY, PPK_ID), …]}
    <-- HDR, SK {[KEr(n),] [N(PPK_IDENTITY, PPK_ID)]}

    A caller may name its pre-shared keys with the last key exchange, or in an exchange of their own after it.
    """
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    state = sa.intermediate
    if state is None or not (state.left or (state.with_ppk and not state.settled)):
        raise _nonsense(core, sa, "the peer goes on with key exchanges that were not agreed on")
    last, alone = len(state.left) <= 1, not state.left
    public, shared = (b"", b"") if alone else _answer_key_exchange(core, sa, state.left[0], request)
    sent = any(isinstance(payload, wire.KE) for payload in request.payloads)
    response: list[wire.Payload] = [] if alone else [wire.KE(state.left[0].number, public)]
    named = request.notifies(NotifyType.PPK_IDENTITY_KEY) if state.with_ppk else []
    if (named and not last) or (alone and sent):
        raise _nonsense(core, sa, "the peer names its pre-shared keys and exchanges keys in another order than is due")
    if named or alone:
        state.settled = True
        state.ppk = ppk_intermediate.choose(core, sa, named)
        response += ppk_intermediate.answer(state.ppk)
    state.cover(sa.chosen.prf, sa.keys, request, request.payloads)
    state.cover(sa.chosen.prf, sa.keys, _message(sa, request.message_id, response=True), response)
    _add(sa, state, shared, state.ppk)
    return response


def _answer_key_exchange(core: Core, sa: IkeSa, method: KeyExchangeMethod, request: Message) -> tuple[bytes, bytes]:
    ke = request.maybe(wire.KE)
    if ke is None or ke.method != method.number:
        raise _nonsense(core, sa, f"the peer's next key exchange should be {method.label}, and is not")
    core.admission.worked(sa.path.remote, method, core.now)
    try:
        return groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        raise _nonsense(core, sa, f"the peer's additional key exchange is invalid: {error}") from None


def _nonsense(core: Core, sa: IkeSa, why: str) -> Close:
    return core.give_up(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why)


def check_complete(core: Core, sa: IkeSa) -> None:
    """No proof is heard before all key exchanges are done that were agreed on: to leave one out is to downgrade.

    Whether the peer may do without a pre-shared key is asked when it is known who it is.
    """
    left = sa.intermediate.left if sa.intermediate else ()
    if left:
        why = f"the peer went on to IKE_AUTH without the key exchange {left[0].label} that was agreed on"
        raise _nonsense(core, sa, why)
