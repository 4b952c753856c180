"""Mixing a post-quantum pre-shared key into what IKE_AUTH proves and into all later keys (RFC 8784).

--> HDR, SAi1, KEi, Ni, N(USE_PPK)
<-- HDR, SAr1, KEr, Nr, N(USE_PPK)
--> HDR, SK {IDi, AUTH, …, N(PPK_IDENTITY, PPK_ID), [N(NO_PPK_AUTH)]}
<-- HDR, SK {IDr, AUTH, …, [N(PPK_IDENTITY)]}
"""

from collections.abc import Sequence

from gateway.crypto.keys import ppk_keys
from gateway.ike import attempt_log
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import proof
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import LocalAuth, Method
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.ppks import Ppk
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Close

USE = wire.Notify(0, b"", NotifyType.USE_PPK, b"")
_FAILED = NotifyType.AUTHENTICATION_FAILED


def of_peer(core: Core, peer: Peer) -> list[Ppk]:
    """The peer's keys, the one that we offer first; none where a round of the proof is EAP."""
    methods = [one.method for one in peer.local_auth] + [one.method for one in peer.remote_auth]
    if Method.EAP in methods:
        return []
    return [core.snapshot.ppks[name] for name in peer.ppks if name in core.snapshot.ppks]


def offered(core: Core, peers: Sequence[Peer], request: Message) -> bool:
    """As responder: whether the caller can use one, and may be a peer that has one."""
    return request.notify(NotifyType.USE_PPK) is not None and any(of_peer(core, peer) for peer in peers)


def missing(core: Core, sa: IkeSa, peer: Peer, response: Message) -> Close | None:
    """As initiator: the end of the call, where a key is required and the answer to IKE_SA_INIT knows of none."""
    if not peer.ppk_required or not response.all(wire.SA) or response.notify(NotifyType.USE_PPK):
        return None
    why = "the peer uses no post-quantum pre-shared keys (RFC 8784), and one is required"
    return core.give_up(sa, "ppk", Step.ALGORITHMS, None, why)


def note(core: Core, sa: IkeSa, response: Message) -> None:
    """As initiator: both ends have said that they use one."""
    if response.notify(NotifyType.USE_PPK) and sa.peer and of_peer(core, sa.peer):
        sa.abilities |= Ability.MAY_USE_PPK


def prove(core: Core, sa: IkeSa, auth: LocalAuth, remote: Identity | None) -> list[wire.Payload]:
    """Our proof as initiator under the first of our keys, with the proof without it where none is required."""
    assert sa.peer is not None and sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
    if Ability.MAY_USE_PPK not in sa.abilities:
        return proof.prove(core, sa, auth, remote)
    chosen = next(iter(of_peer(core, sa.peer)), None)
    if chosen is None:
        why = "the post-quantum pre-shared key that we said we have was taken away during the call"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    without = [] if sa.peer.ppk_required else proof.prove(core, sa, auth, remote)
    core.extensions.ppk_offers[sa.our_spi] = chosen, sa.keys
    sa.keys = ppk_keys(sa.chosen.prf, chosen.secret, sa.keys)
    payloads = proof.prove(core, sa, auth, remote)
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
        _used(core, sa, offered_key)
        return
    identity = offered_key.identity
    if sa.peer.ppk_required:
        why = f"the peer does not use the post-quantum pre-shared key {identity}, which is required"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    sa.keys = plain
    attempt_log.add(sa.attempt, Step.ALGORITHMS, f"without a PPK: the peer does not know {identity}")


def accept(core: Core, sa: IkeSa, peer: Peer, request: Message) -> list[wire.Payload]:
    """As responder, before the first proof is checked: the key that the caller names, or none (RFC 8784 3, table 1).

    Without, the proof to check is the one of NO_PPK_AUTH, which takes the place of the AUTH payload's. Raises Close.
    """
    if Ability.MAY_USE_PPK not in sa.abilities:
        if peer.ppk_required:
            why = f"{peer.name} uses no post-quantum pre-shared key, and one is required"
            raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
        return []
    named = request.notify(NotifyType.PPK_IDENTITY)
    auth = request.maybe(wire.AUTH)
    if named is None or auth is None:
        why = f"{peer.name} said that it uses a post-quantum pre-shared key, and names none"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    found = next((one for one in of_peer(core, peer) if one.ppk_id == named.data), None)
    if found is not None:
        assert sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
        sa.keys = ppk_keys(sa.chosen.prf, found.secret, sa.keys)
        _used(core, sa, found)
        return [wire.Notify(0, b"", NotifyType.PPK_IDENTITY, b"")]
    without = request.notify(NotifyType.NO_PPK_AUTH)
    if peer.ppk_required or without is None:
        known = ", ".join(one.identity for one in of_peer(core, peer)) or "none"
        why = f"{peer.name} names a post-quantum pre-shared key that it does not have here; known: {known}"
        raise core.give_up(sa, "ppk", Step.IDENTITY, _FAILED, why)
    request.payloads[request.payloads.index(auth)] = wire.AUTH(auth.method, without.data)
    attempt_log.add(sa.attempt, Step.ALGORITHMS, "without a PPK: the one that the peer names is not its own here")
    return []


def _used(core: Core, sa: IkeSa, used: Ppk) -> None:
    sa.abilities |= Ability.USES_PPK
    attempt_log.add(sa.attempt, Step.ALGORITHMS, f"with the PPK {used.identity}")
    core.count("ppks-used")
