"""Mixing a post-quantum pre-shared key into all keys, before anybody is proven (RFC 9867 3.1).

The initiator names each key that it has with a confirmation: octets that only who has the same key can make. The
responder chooses one that it has, too; whether that is the initiator's own is asked when it is known who that is.

--> HDR, SK {…, N(PPK_IDENTITY_KEY, PPK_ID, confirmation), …}
<-- HDR, SK {…, [N(PPK_IDENTITY, PPK_ID)]}
"""

import hmac
from collections.abc import Sequence

from gateway.crypto.keys import PPK_CONFIRMATION_OCTETS, ppk_confirmation
from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.authentication import ppk
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.peers import PpkExchange
from gateway.policy.ppks import Ppk
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType

MOST_NAMED = 16
"""How many keys of one caller are looked at."""
_FAILED = NotifyType.AUTHENTICATION_FAILED
_HERE = PpkExchange.INTERMEDIATE


def offered(core: Core, sa: IkeSa) -> list[Ppk]:
    """As initiator: the keys that we name. Raises Close where they were taken away during the call."""
    assert sa.peer is not None
    keys = ppk.of_peer(core, sa.peer, _HERE)[:MOST_NAMED]
    if not keys:
        raise ppk.taken_away(core, sa)
    return keys


def notify(sa: IkeSa, key: Ppk) -> wire.Notify:
    """How one of our keys is named."""
    return wire.Notify(0, b"", NotifyType.PPK_IDENTITY_KEY, key.ppk_id + _confirmation(sa, key))


def _confirmation(sa: IkeSa, key: Ppk) -> bytes:
    assert sa.chosen is not None and sa.chosen.prf is not None
    return ppk_confirmation(sa.chosen.prf, key.secret, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r)


def settle(core: Core, sa: IkeSa, response: Message, named: Sequence[Ppk]) -> Ppk | None:
    """As initiator: the key that the responder chose of those; None where it chose none. Raises Close if it had to."""
    assert sa.peer is not None
    answers = response.notifies(NotifyType.PPK_IDENTITY)
    names = ", ".join(key.identity for key in named)
    if not answers:
        if sa.peer.ppk_required:
            why = f"the peer has none of our post-quantum pre-shared keys, and one is required; ours: {names}"
            raise core.give_up(sa, "ppk", Step.ALGORITHMS, _FAILED, why)
        attempt_log.add(sa.attempt, Step.ALGORITHMS, f"without a PPK: the peer has none of ours ({names})")
        return None
    used = next((key for key in named if key.ppk_id == answers[0].data), None)
    if used is None or len(answers) > 1:
        what = "one that we did not name" if used is None else "several"
        why = f"of our post-quantum pre-shared keys the peer chose {what}"
        raise core.give_up(sa, "ppk", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why)
    ppk.use(core, sa, used)
    return used


def choose(core: Core, sa: IkeSa, named: Sequence[wire.Notify]) -> Ppk | None:
    """As responder: the first key that we have of a peer that this may be; the other end's confirmation must agree.

    Raises Close where there is none, and whoever may call from there needs one.
    """
    peers = core.snapshot.peers_for(sa.path.local, sa.path.remote)
    known: dict[bytes, dict[Ppk, None]] = {}  # two peers may call theirs the same
    for key in (key for peer in peers for key in ppk.of_peer(core, peer, _HERE)):
        known.setdefault(key.ppk_id, {})[key] = None
    others: dict[str, None] = {}
    for one in named[:MOST_NAMED]:
        ppk_id, confirmation = one.data[:-PPK_CONFIRMATION_OCTETS], one.data[-PPK_CONFIRMATION_OCTETS:]
        for found in known.get(ppk_id, ()):
            if hmac.compare_digest(confirmation, _confirmation(sa, found)):
                ppk.use(core, sa, found)
                return found
            others[found.identity] = None
    for identity in others:
        attempt_log.add(sa.attempt, Step.ALGORITHMS, f"the peer's key of the name {identity} is another one")
    if peers and all(peer.ppk_required for peer in peers):
        why = "the peer names no post-quantum pre-shared key that is known here, and one is required; known: "
        why += ", ".join(next(iter(keys)).identity for keys in known.values()) or "none"
        raise core.give_up(sa, "ppk", Step.ALGORITHMS, _FAILED, why)
    attempt_log.add(sa.attempt, Step.ALGORITHMS, "without a PPK: the peer names none that is known here")
    return None


def answer(chosen: Ppk | None) -> list[wire.Payload]:
    """As responder: which key we chose."""
    return [wire.Notify(0, b"", NotifyType.PPK_IDENTITY, chosen.ppk_id)] if chosen else []
