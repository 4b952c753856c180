"""Post-quantum pre-shared keys: which exchange they are used in, and their use in IKE_AUTH (RFC 8784).

--> HDR, SAi1, KEi, Ni, N(USE_PPK), N(INTERMEDIATE_EXCHANGE_SUPPORTED), N(USE_PPK_INT)
<-- HDR, SAr1, KEr, Nr, N(USE_PPK)   or   N(INTERMEDIATE_EXCHANGE_SUPPORTED), N(USE_PPK_INT) (RFC 9867 3.1)

With N(USE_PPK_INT) the key is mixed in before IKE_AUTH, see `ppk_intermediate`; with N(USE_PPK) it is in what IKE_AUTH
proves and in all later keys:

--> HDR, SK {IDi, AUTH, …, N(PPK_IDENTITY, PPK_ID), [N(NO_PPK_AUTH)]}
<-- HDR, SK {IDr, AUTH, …, [N(PPK_IDENTITY)]}

Where the first round of proof is EAP, these are its last request and answer, which have its AUTH payloads.
"""

from collections.abc import Callable, Sequence

from gateway.crypto.keys import ppk_keys
from gateway.ike import attempt_log
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Peer, PpkExchange
from gateway.policy.ppks import Ppk
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Close

USE = wire.Notify(0, b"", NotifyType.USE_PPK, b"")
USE_INT = wire.Notify(0, b"", NotifyType.USE_PPK_INT, b"")
_FAILED = NotifyType.AUTHENTICATION_FAILED


def of_peer(core: Core, peer: Peer, exchange: PpkExchange) -> list[Ppk]:
    """The peer's keys for IKE_INTERMEDIATE or IKE_AUTH, the best first."""
    if peer.ppk_exchange not in (exchange, PpkExchange.EITHER):
        return []
    return [core.snapshot.ppks[name] for name in peer.ppks if name in core.snapshot.ppks]


def announced(core: Core, peer: Peer) -> list[wire.Payload]:
    """As initiator: that we use one, and where."""
    ways = (USE, PpkExchange.AUTH), (USE_INT, PpkExchange.INTERMEDIATE)
    return [payload for payload, exchange in ways if of_peer(core, peer, exchange)]


def agreed(core: Core, peers: Sequence[Peer], request: Message) -> Ability:
    """As responder: where one may be used; in IKE_INTERMEDIATE rather than in IKE_AUTH, for it protects more there."""
    both = NotifyType.USE_PPK_INT, NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED
    if all(request.notify(kind) for kind in both) and _any_has(core, peers, PpkExchange.INTERMEDIATE):
        return Ability.MAY_USE_PPK_INT
    if request.notify(NotifyType.USE_PPK) and _any_has(core, peers, PpkExchange.AUTH):
        return Ability.MAY_USE_PPK
    return Ability.NONE


def _any_has(core: Core, peers: Sequence[Peer], exchange: PpkExchange) -> bool:
    return any(of_peer(core, peer, exchange) for peer in peers)


def _chosen_in(response: Message) -> Ability | None:
    """Where the answer to IKE_SA_INIT says that a key is used; None where it contradicts itself."""
    in_auth = response.notify(NotifyType.USE_PPK) is not None
    before = response.notify(NotifyType.USE_PPK_INT) is not None
    if before and (in_auth or response.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None):
        return None
    if before:
        return Ability.MAY_USE_PPK_INT
    return Ability.MAY_USE_PPK if in_auth else Ability.NONE


def unfit(core: Core, sa: IkeSa, peer: Peer, response: Message) -> Close | None:
    """As initiator: the end of the call, where the answer to IKE_SA_INIT is not fit for our keys.

    It is not where it contradicts itself, nor where a key is required and it knows of none in an exchange of ours.
    """
    if not (peer.ppks or peer.ppk_required) or not response.all(wire.SA):
        return None
    chosen = _chosen_in(response)
    if chosen is None:
        why = "the peer's answer contradicts itself on where a post-quantum pre-shared key is used (RFC 9867)"
        return core.give_up(sa, "ppk", Step.ALGORITHMS, None, why)
    if not peer.ppk_required or _usable(core, peer, chosen):
        return None
    why = "the peer uses no post-quantum pre-shared keys (RFC 8784, RFC 9867)"
    if chosen or peer.ppk_exchange != PpkExchange.EITHER:
        where = "IKE_INTERMEDIATE" if peer.ppk_exchange == PpkExchange.INTERMEDIATE else "IKE_AUTH"
        why = f"the peer uses no post-quantum pre-shared keys in {where}"
    return core.give_up(sa, "ppk", Step.ALGORITHMS, None, f"{why}, and one is required")


def _usable(core: Core, peer: Peer, chosen: Ability) -> bool:
    if chosen == Ability.MAY_USE_PPK_INT:
        return bool(of_peer(core, peer, PpkExchange.INTERMEDIATE))
    return chosen == Ability.MAY_USE_PPK and bool(of_peer(core, peer, PpkExchange.AUTH))


def note(core: Core, sa: IkeSa, response: Message) -> None:
    """As initiator: both ends have said that they use one, and where."""
    chosen = _chosen_in(response)
    if chosen and sa.peer and _usable(core, sa.peer, chosen):
        sa.abilities |= chosen


def taken_away(core: Core, sa: IkeSa) -> Close:
    """As initiator: the keys are gone of which we said that we have them."""
    why = "the post-quantum pre-shared key that we said we have was taken away during the call"
    return core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)


def prove(core: Core, sa: IkeSa, make: Callable[[], list[wire.Payload]]) -> list[wire.Payload]:
    """The proof that `make` makes with the SA's keys, as initiator, the first time that we send one.

    It is made under the first of our keys, and without it too where none is required.
    """
    assert sa.peer is not None and sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
    if Ability.MAY_USE_PPK not in sa.abilities:
        return make()
    chosen = next(iter(of_peer(core, sa.peer, PpkExchange.AUTH)), None)
    if chosen is None:
        raise taken_away(core, sa)
    without = [] if sa.peer.ppk_required else make()
    core.extensions.ppk_offers[sa.our_spi] = chosen, sa.keys
    sa.keys = ppk_keys(sa.chosen.prf, chosen.secret, sa.keys)
    payloads = make()
    payloads.append(wire.Notify(0, b"", NotifyType.PPK_IDENTITY, chosen.ppk_id))
    payloads += [wire.Notify(0, b"", NotifyType.NO_PPK_AUTH, one.data) for one in without if isinstance(one, wire.AUTH)]
    return payloads


def settle(core: Core, sa: IkeSa, response: Message) -> None:
    """Whether the responder used the key; asked before its proof is checked. Raises Close where it had to."""
    offer = core.extensions.ppk_offers.pop(sa.our_spi, None)
    if offer is None or response.maybe(wire.AUTH) is None:
        return
    assert sa.peer is not None
    offered_key, plain = offer
    if response.notify(NotifyType.PPK_IDENTITY):
        use(core, sa, offered_key)
        return
    identity = offered_key.identity
    if sa.peer.ppk_required:
        why = f"the peer does not use the post-quantum pre-shared key {identity}, which is required"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    sa.keys = plain
    attempt_log.add(sa.attempt, Step.ALGORITHMS, f"without a PPK: the peer does not know {identity}")


def demand(core: Core, sa: IkeSa, peer: Peer) -> None:
    """As responder, when it is known who calls: a key is used, or will be, if one is required. Raises Close.

    One that IKE_INTERMEDIATE mixed in must be one of the peer's own (RFC 9867 3.1).
    """
    used = sa.intermediate.ppk if sa.intermediate else None
    if peer.ppk_required and used is None and Ability.MAY_USE_PPK not in sa.abilities:
        why = f"{peer.name} uses no post-quantum pre-shared key, and one is required"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    own = [(one.ppk_id, one.secret) for one in of_peer(core, peer, PpkExchange.INTERMEDIATE)]
    if used is not None and (used.ppk_id, used.secret) not in own:
        why = f"{peer.name} used the post-quantum pre-shared key {used.identity}, which is not one of its own here"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)


def accept(core: Core, sa: IkeSa, peer: Peer, request: Message) -> list[wire.Payload]:
    """As responder, before the first proof is checked: the key that the caller names, or none (RFC 8784 3, table 1).

    Without, the proof to check is the one of NO_PPK_AUTH, which takes the place of the AUTH payload's. Raises Close.
    """
    demand(core, sa, peer)
    if Ability.MAY_USE_PPK not in sa.abilities:
        return []
    named = request.notify(NotifyType.PPK_IDENTITY)
    auth = request.maybe(wire.AUTH)
    if named is None or auth is None:
        why = f"{peer.name} said that it uses a post-quantum pre-shared key, and names none"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    known = of_peer(core, peer, PpkExchange.AUTH)
    found = next((one for one in known if one.ppk_id == named.data), None)
    if found is not None:
        assert sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
        sa.keys = ppk_keys(sa.chosen.prf, found.secret, sa.keys)
        use(core, sa, found)
        return [wire.Notify(0, b"", NotifyType.PPK_IDENTITY, b"")]
    without = request.notify(NotifyType.NO_PPK_AUTH)
    if peer.ppk_required or without is None:
        names = ", ".join(one.identity for one in known) or "none"
        why = f"{peer.name} names a post-quantum pre-shared key that it does not have here; known: {names}"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    request.payloads[request.payloads.index(auth)] = wire.AUTH(auth.method, without.data)
    attempt_log.add(sa.attempt, Step.ALGORITHMS, "without a PPK: the one that the peer names is not its own here")
    return []


def stay(before: Peer, core: Core, sa: IkeSa, peer: Peer, _: Message) -> list[wire.Payload]:
    """As responder, after a later round: what was settled with the entry `before` must do for the one that it led to.

    Raises Close.
    """
    same = (before.ppks, before.ppk_exchange) == (peer.ppks, peer.ppk_exchange)
    used = Ability.USES_PPK in sa.abilities
    if (used and not same) or (peer.ppk_required and not used):
        why = f"{peer.name} has other post-quantum pre-shared keys than {before.name}, as which the first round went"
        if not used:
            why = f"{peer.name} uses no post-quantum pre-shared key, and one is required"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    return []


def use(core: Core, sa: IkeSa, used: Ppk) -> None:
    """This key is mixed in; the attempt tells where."""
    sa.abilities |= Ability.USES_PPK
    where = "IKE_INTERMEDIATE" if Ability.MAY_USE_PPK_INT in sa.abilities else "IKE_AUTH"
    attempt_log.add(sa.attempt, Step.ALGORITHMS, f"with the PPK {used.identity} in {where}")
    core.count("ppks-used")
