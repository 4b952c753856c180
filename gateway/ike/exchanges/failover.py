"""What two ends agree on after one of them failed over to another member of its cluster (RFC 6311).

The new member knows the IKE SA as it was when it last heard of it: its message IDs may be behind, and so may the
sequence numbers of ESP. It says so in a message with the message ID zero, and both ends go on with higher numbers.
"""

from dataclasses import dataclass
from struct import Struct

from gateway.ike import driver
from gateway.ike.abilities import Ability
from gateway.ike.core import Core
from gateway.ike.flow import TimedOut, ask_after_failover
from gateway.ike.lifetimes import rekey_child
from gateway.ike.path import Path
from gateway.ike.plane import Refused, SkipSequence
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.ike.window import Pending
from gateway.wire import payloads as wire
from gateway.wire.message import Header, Message, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Drop, Reject

SKIPPED = 1 << 30
"""By how much ESP's sequence numbers go on where nobody can tell how far behind they are (RFC 6311 5.2)."""
_MUCH = 1 << 20
"""A CHILD_SA without extended sequence numbers has not room for many skips as large as that."""
_IDS = Struct("!4sII")
_NONCE_OCTETS = 4
_LAST = 0xFFFFFFFF


@dataclass(slots=True)
class _Ids:
    """The body of N(IKEV2_MESSAGE_ID_SYNC): the next request that its sender makes, and the next that it expects."""

    nonce: bytes
    sends: int
    expects: int

    def notify(self) -> wire.Notify:
        data = _IDS.pack(self.nonce, min(self.sends, _LAST), min(self.expects, _LAST))
        return wire.Notify(0, b"", NotifyType.IKEV2_MESSAGE_ID_SYNC, data)

    @classmethod
    def read(cls, data: bytes) -> "_Ids":
        """Raises Drop."""
        if len(data) != _IDS.size:
            raise Drop("message ID synchronisation of a wrong length")
        return cls(*_IDS.unpack(data))


def answers(core: Core, sa: IkeSa, header: Header, datagram: bytes, path: Path) -> bool:
    """Whether this request with the message ID zero is a synchronisation, which is answered here.

    --> HDR(0), SK {N(IKEV2_MESSAGE_ID_SYNC, nonce, M1, P1), [N(IPSEC_REPLAY_COUNTER_SYNC)]}
    <-- HDR(0), SK {N(IKEV2_MESSAGE_ID_SYNC, nonce, P2, M2)}

    RFC 6311 5.1, as the peer of the cluster. Another request may have that message ID, too: the first one of an IKE SA
    that came of a rekey. Raises Drop for what breaks a rule, and for a repeat: the cluster asks again with a higher M1.
    """
    if Ability.SYNCHRONISES_IDS not in sa.abilities or header.exchange != ExchangeType.INFORMATIONAL:
        return False
    assert sa.protection is not None
    message = parse(datagram)
    if not message.payloads or not isinstance(message.payloads[-1], wire.SK):
        return False
    try:
        sa.protection.open(datagram, message)
    except Reject:
        return False
    if message.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC) is None:
        return False
    asked, skip = _read_request(sa, message)
    told = _Ids(asked.nonce, max(asked.expects, sa.requests.unused), asked.sends)
    sa.responses.renumber(asked.sends)
    sa.last_heard, sa.requests.silent = core.now, b""
    core.count("message-ids-synchronised")
    response = Message(sa.spi_i, sa.spi_r, header.exchange, sa.initiator, True, 0, [])
    core.send(sa.protection.seal(response, [told.notify()]), path, sa.dscp)
    _note(core, sa, f"the peer failed over: requests go on at {told.sends}, its own at {told.expects}")
    worn = skip_sequence(core, sa, skip)
    driver.renumber(core, sa, told.sends)
    _rekey(core, sa, worn)
    return True


def _read_request(sa: IkeSa, message: Message) -> tuple[_Ids, int]:
    """What the cluster wants, with how far its inbound ESP shall skip. Raises Drop (RFC 6311 5.1)."""
    wanted = {NotifyType.IKEV2_MESSAGE_ID_SYNC: 1, NotifyType.IPSEC_REPLAY_COUNTER_SYNC: 0}
    found = [one.type if isinstance(one, wire.Notify) else -1 for one in message.payloads]
    if len(found) != len(set(found)) or not set(found) <= set(wanted):
        raise Drop("message ID synchronisation with something beside it")
    notify = message.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC)
    assert notify is not None
    asked = _Ids.read(notify.data)
    if asked.sends <= sa.responses.highest:
        raise Drop("message ID synchronisation again, or with a message ID that was used")
    return asked, _skip_asked(sa, message)


def _skip_asked(sa: IkeSa, message: Message) -> int:
    """By how much our ESP shall skip forward; 0 where nothing is said of it. Raises Drop."""
    notify = message.notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC)
    if notify is None:
        return 0
    if Ability.SYNCHRONISES_REPLAY not in sa.abilities:
        raise Drop("replay counter synchronisation, which was not agreed on")
    octets = {8 if child.outbound.esn else 4 for child in sa.children.values()} or {4, 8}
    if (octets != {4, 8} and octets != {len(notify.data)}) or len(notify.data) not in (4, 8):
        raise Drop("replay counter synchronisation that does not fit the CHILD_SAs")
    return int.from_bytes(notify.data)


def hear_skip(core: Core, sa: IkeSa, request: Message) -> None:
    """The cluster's message IDs are right, and ESP's sequence numbers alone were lost (RFC 6311 5, case 2).

    --> HDR, SK {N(IPSEC_REPLAY_COUNTER_SYNC)}   <-- HDR, SK {}
    """
    if sa.state == Lifecycle.ESTABLISHED and Ability.SYNCHRONISES_REPLAY in sa.abilities:
        try:
            worn = skip_sequence(core, sa, _skip_asked(sa, request))
        except Drop as drop:
            raise Reject(NotifyType.INVALID_SYNTAX, drop.why) from None
        _rekey(core, sa, worn)


def skip_sequence(core: Core, sa: IkeSa, skip: int) -> list[ChildSa]:
    """Every CHILD_SA's outbound sequence numbers go on that much higher.

    Those whose data plane cannot do so, or that come near their end by it, have to be rekeyed: a successor begins at 1.
    """
    worn = []
    for child in sa.children.values() if skip else ():
        try:
            core.plane.apply([SkipSequence(child.outbound.key, skip)])
        except Refused as refused:
            _note(core, sa, f"the sequence numbers of {child.name} cannot go on: {refused.why}")
            worn.append(child)
        else:
            worn += [child] if skip >= _MUCH and not child.outbound.esn else []
    return worn


def _rekey(core: Core, sa: IkeSa, worn: list[ChildSa]) -> None:
    for child in worn:
        rekey_child(core, sa, child)


def _note(core: Core, sa: IkeSa, text: str) -> None:
    core.event("ike-sa.failed-over", f"{sa.peer_name}: {text}", sa.peer_name, ike_sa=sa.id)


def take_over(core: Core, sa: IkeSa) -> bool:
    """We are the new member, and the SA as it is here may be older than what our predecessor did with it.

    Whether the peer can be asked; where it cannot, the SA goes on as it is, or does not (RFC 6311 5, case 4).
    """
    if sa.state != Lifecycle.ESTABLISHED or Ability.SYNCHRONISES_IDS not in sa.abilities or sa.requests.busy:
        return False
    assert sa.protection is not None
    sa.protection.leap()
    sa.tasks.insert(0, Task("synchronising message IDs", lambda sa: _synchronise(core, sa)))
    driver.next_task(core, sa)
    return True


async def _synchronise(core: Core, sa: IkeSa) -> None:
    """As the cluster's new member; each try has a higher M1, as a peer does not hear one that it has heard before.

    --> HDR(0), SK {N(IKEV2_MESSAGE_ID_SYNC, nonce, M1, P1), [N(IPSEC_REPLAY_COUNTER_SYNC)]}
    <-- HDR(0), SK {N(IKEV2_MESSAGE_ID_SYNC, nonce, P2, M2)}
    """
    assert sa.peer is not None
    skips = Ability.SYNCHRONISES_REPLAY in sa.abilities
    worn = skip_sequence(core, sa, SKIPPED if skips else 0)
    known, tries = sa.requests.next_id, sa.peer.retransmission.tries
    for turn in range(1, tries + 1):
        asked = _Ids(core.random(_NONCE_OCTETS), min(known + (16 << 4 * (turn - 1)), _LAST - 1), sa.responses.expected)
        sa.requests.next_id = asked.sends
        try:
            response = await ask_after_failover([asked.notify(), *_skip(sa, skips)], turn)
        except TimedOut as timeout:
            if turn == tries:
                raise TimedOut("the message ID synchronisation", tries) from timeout
            continue
        notify = response.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC)
        assert notify is not None  # check_response saw to it
        told = _Ids.read(notify.data)
        sa.requests.next_id = max(sa.requests.next_id, told.expects)
        sa.responses.renumber(max(sa.responses.expected, told.sends))
        _note(core, sa, f"taken over: requests go on at {told.expects}, the peer's at {told.sends}")
        _rekey(core, sa, worn)
        return


def _skip(sa: IkeSa, skips: bool) -> list[wire.Payload]:
    """How far the peer's ESP shall skip; all CHILD_SAs must be of one kind for it (RFC 6311 6.4)."""
    kinds = {child.outbound.esn for child in sa.children.values()}
    if not skips or len(kinds) != 1:
        return []
    return [wire.Notify(0, b"", NotifyType.IPSEC_REPLAY_COUNTER_SYNC, SKIPPED.to_bytes(8 if kinds.pop() else 4))]


def check_response(pending: Pending, response: Message) -> None:
    """Raises Drop for what must not end the wait for a better one (RFC 6311 5.1)."""
    ours, theirs = pending.payloads[0], response.payloads[0] if len(response.payloads) == 1 else None
    assert isinstance(ours, wire.Notify)
    if not isinstance(theirs, wire.Notify) or theirs.type != NotifyType.IKEV2_MESSAGE_ID_SYNC:
        raise Drop("not an answer to a message ID synchronisation")
    asked, told = _Ids.read(ours.data), _Ids.read(theirs.data)
    if told.nonce != asked.nonce:
        raise Drop("message ID synchronisation with another nonce than ours")
    if told.expects < asked.sends or told.sends < asked.expects:
        raise Drop("message ID synchronisation that goes back")
