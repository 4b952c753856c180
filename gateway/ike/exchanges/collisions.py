"""Two exchanges that meet: what may not begin now, which of two new SAs stays, when to try again (RFC 7296 2.25).

Whoever is refused because the other end is busy tries again after a random time, so that the two do not meet for ever.
"""

from gateway.ike.children import remove, same_traffic
from gateway.ike.core import Core
from gateway.ike.modes import answered
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.ike.succession import patience
from gateway.policy.peers import Child
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType, Protocol
from gateway.wire.outcome import Close, Reject

CROSSING = 5.0
"""Seconds for which a rekey by the peer waits for its answer to ours: two of us would wait for each other."""
_SOON = 0.2
"""Seconds until our own rekey is asked again when the peer's crosses it."""
_PAUSE = 10.0
"""The most seconds until a refused exchange is tried again."""
PATIENCE = 180.0
"""Seconds of nothing but TEMPORARY_FAILURE after which the IKE SA is out of step and ends: "several minutes"."""


def waits(core: Core, sa: IkeSa) -> bool:
    """Whether the peer's rekey of what we are rekeying is answered only when ours is over, as if it had come later.

    RFC 7296 2.8.1 and 2.8.2 let nonces decide which of two new SAs stays. libreswan does not look at them: with what
    it made last it loses its policies, or the children of an IKE SA, also where another one would stay. When ours is
    over there is no second one: the peer's is refused (RFC 7296 2.25.1, 2.25.2).

    Ours is asked again soon: libreswan 5 sends its request a second time where its answer to ours should go, uses the
    new CHILD_SA, and gives the answer when it is asked again.
    """
    if sa.responses.waited or sa.requests.pending is None:
        return False
    core.timers.set(("crossing", sa), core.now + min(CROSSING, _half_patience(sa)))
    due, soon = core.timers.when(("retransmit", sa)), core.now + _SOON
    core.timers.set(("retransmit", sa), soon if due is None else min(due, soon))
    return True


def _half_patience(sa: IkeSa) -> float:
    """Half of the seconds for which we ask: one of us who waits for us must not be given up for it."""
    assert sa.peer is not None
    asking = sa.peer.retransmission
    return sum(asking.wait(sent, 0.5) for sent in range(1, asking.tries + 1)) / 2


def answer_crossing(core: Core, sa: IkeSa) -> None:
    """The peer's own rekey, if there is one, has waited long enough for the end of ours."""
    core.timers.cancel(("crossing", sa))
    crossing, sa.responses.crossing = sa.responses.crossing, None
    if crossing is not None:
        sa.responses.waited = True
        crossing()


def refuse_while_leaving(sa: IkeSa) -> None:
    """RFC 7296 2.25.2: nothing is made any more on an IKE SA that was replaced or is being closed."""
    if sa.state != Lifecycle.ESTABLISHED:
        raise Reject(NotifyType.TEMPORARY_FAILURE, "the IKE SA is replaced or about to close")


def refuse_child_while_rekeying(sa: IkeSa) -> None:
    """RFC 7296 2.25.2: a CHILD_SA made now could miss the move to the new IKE SA."""
    if sa.renewal is not None:
        raise Reject(NotifyType.TEMPORARY_FAILURE, "we are rekeying the IKE SA")


def refuse_rekey_while_busy(sa: IkeSa) -> None:
    """RFC 7296 2.25.1: while we make, rekey or delete a CHILD_SA, the IKE SA must stay the same."""
    pending = sa.requests.pending
    if pending is not None and sa.renewal is None and pending.about_child:
        raise Reject(NotifyType.TEMPORARY_FAILURE, "we are busy with a CHILD_SA of this IKE SA")


def refuse_several_while_busy(sa: IkeSa) -> None:
    """RFC 9370 2.2.4: nothing is made yet that nonces could decide about, so the later of two has to wait."""
    pending = sa.requests.pending
    if sa.renewal is not None or (pending is not None and pending.about_child):
        raise Reject(NotifyType.TEMPORARY_FAILURE, "we are making or rekeying an SA ourselves")


def replaced_by_request(sa: IkeSa, request: Message) -> ChildSa | None:
    """The child named by N(REKEY_SA), by the SPI that the peer receives on (RFC 7296 1.3.3, 2.25.1)."""
    notify = request.notify(NotifyType.REKEY_SA)
    if notify is None:
        return None
    child = _named(sa, notify)
    if child is None:
        why = f"the peer rekeys a CHILD_SA {notify.spi.hex()} that is not there"
        raise Reject(NotifyType.CHILD_SA_NOT_FOUND, why, esp_spi=notify.spi)
    if child.deleting:
        raise Reject(NotifyType.TEMPORARY_FAILURE, f"CHILD_SA {child.name} is being deleted by us")
    if child.superseded:
        raise Reject(NotifyType.TEMPORARY_FAILURE, f"CHILD_SA {child.name} was rekeyed already")
    return child


def crosses_ours(sa: IkeSa, request: Message) -> bool:
    """Whether the peer rekeys a CHILD_SA that we are rekeying."""
    notify = request.notify(NotifyType.REKEY_SA)
    child = _named(sa, notify) if notify else None
    return child is not None and child.rekeying


def _named(sa: IkeSa, notify: wire.Notify) -> ChildSa | None:
    named = notify.protocol == Protocol.ESP and len(notify.spi) == 4
    return sa.child_by_spi_out(int.from_bytes(notify.spi)) if named else None


def rival_of(sa: IkeSa, replacing: ChildSa | None, config: Child, response: Message, began: float) -> ChildSa | None:
    """What the peer made of the same old child, or of the same wish, since our request; None when it made nothing."""
    if replacing is not None:
        rival = replacing.successor
        return rival if rival is not None and not rival.gone else None
    try:
        agreed = answered(config, sa.path, sa.nat, response) if response.maybe(wire.SA) else None
    except Reject:
        agreed = None
    if agreed is None:  # refused, or not to be understood: who concludes the exchange says why
        return None
    for other in sa.children.values():
        same = other.name == config.name and (set(other.local), set(other.remote)) == (
            set(agreed.local),
            set(agreed.remote),
        )
        if same and other.installed >= began and not other.deleting:
            return other
    return None


def not_replaced(core: Core, sa: IkeSa, child: ChildSa, refused: Reject) -> bool:
    """Our rekey of the child was refused. Whether nothing more is to be done here; else it has to be made anew."""
    if child.gone or child.superseded:
        return True  # RFC 7296 2.8.1: the peer was faster, and its own rekey stands
    if refused.notify == NotifyType.CHILD_SA_NOT_FOUND and not _may_be_news(core, sa, child):
        carried = any(other is not child and same_traffic(other, child) for other in sa.children.values())
        remove(core, sa, child, "the peer does not have it any more", quiet=carried)
        return False
    note_refusal(core, sa, refused)
    rekey_child_later(core, sa, child)
    return True


def _may_be_news(core: Core, sa: IkeSa, child: ChildSa) -> bool:
    """Whether the peer may not know yet that its own request made the child: it has asked for nothing else since.

    Our answer may be lost; it comes again when the peer asks again, which it does not do for ever.
    """
    return child.answered == (sa.id, sa.responses.expected - 1) and core.now < child.installed + patience(sa)


def rekey_child_later(core: Core, sa: IkeSa, child: ChildSa) -> None:
    """Try again to rekey the child, which lives on meanwhile."""
    core.timers.set(("rekey-child", sa, child.spi_in), core.now + pause(core, sa, child.config.rekey_time))


def note_refusal(core: Core, sa: IkeSa, refused: Reject) -> None:
    """Remember for how long the peer has been too busy. Raises Close when that is too long (RFC 7296 2.25)."""
    if refused.notify != NotifyType.TEMPORARY_FAILURE:
        sa.refused_since = None
    elif sa.refused_since is None:
        sa.refused_since = core.now
    elif core.now - sa.refused_since > PATIENCE:
        raise Close(None, "the peer was too busy for minutes (TEMPORARY_FAILURE): the two ends are out of step")


def try_child_later(core: Core, sa: IkeSa, config: Child) -> None:
    """The peer was too busy to make the child."""
    if sa.peer is not None:
        core.timers.set(("create-child", sa.peer.name, config.name), core.now + pause(core, sa, 0.0))


def pause(core: Core, sa: IkeSa, lifetime: float) -> float:
    """Seconds to wait before a refused exchange is tried again, with jitter; less where all lives shortly.

    At first one, as a peer is seldom busy for longer than an exchange takes; then ever longer, up to ten.
    """
    most = min(_PAUSE, lifetime * 0.05) if lifetime else _PAUSE
    if sa.refused_since is not None:
        most = min(most, 1.0 + core.now - sa.refused_since)
    return most * (0.3 + 0.7 * core.chance())
