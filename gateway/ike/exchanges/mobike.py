"""MOBIKE: a standing IKE SA and its children go to other addresses (RFC 4555)."""

import ipaddress

from gateway.ike.core import Core
from gateway.ike.driver import next_task, resend, start
from gateway.ike.flow import Closed, ask_peer
from gateway.ike.mobility import MAX_ADDRESSES, Mobility, further
from gateway.ike.moving import move
from gateway.ike.nat import detect_nat, detection_of, keep_alive, must_encapsulate, our_port
from gateway.ike.path import Nat, Path
from gateway.ike.plane import Refused
from gateway.ike.sa import IkeSa, Task
from gateway.policy.peers import Retransmission
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Close, Reject

_TRIES = 3
_MOST_TRIES = 20
_COOKIE_OCTETS = 16


def _notify(kind: int, data: bytes = b"") -> wire.Notify:
    return wire.Notify(0, b"", kind, data)


# --- in IKE_AUTH ---


def offer(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """What an IKE_AUTH request, or the response to one that offered it, says of MOBIKE (RFC 4555 3.2, 3.4)."""
    if sa.peer is None or not sa.peer.mobike:
        return []
    return [_notify(NotifyType.MOBIKE_SUPPORTED), *_further(core, sa), *_no_nats(core, sa, sa.path)]


def agree(core: Core, sa: IkeSa, message: Message, *, leads: bool) -> bool:
    """Take up the other end's IKE_AUTH message; whether both speak MOBIKE."""
    if sa.peer is None or not sa.peer.mobike or not message.notify(NotifyType.MOBIKE_SUPPORTED):
        return False
    sa.mobility = Mobility(leads, _addresses(message) or (), _ours(core, sa))
    return True


def nat_is_unexpected(core: Core, message: Message, path: Path) -> bool:
    """RFC 4555 3.9: the peer allows no NAT, and the addresses it used are not those that we see."""
    notify = message.notify(NotifyType.NO_NATS_ALLOWED)
    if notify is None:
        return False
    return notify.data != _ends(path.remote, path.port, path.local, our_port(core, path))


def _ends(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    packed = [ipaddress.ip_address(address).packed for address in (source, destination)]
    return b"".join(packed) + source_port.to_bytes(2) + destination_port.to_bytes(2)


def _no_nats(core: Core, sa: IkeSa, path: Path) -> list[wire.Payload]:
    """Where NAT traversal is not for both ends, no NAT may change what updates addresses (RFC 4555 3.9)."""
    if sa.nat.supported:
        return []
    ends = _ends(path.local, our_port(core, path), path.remote, path.port)
    return [_notify(NotifyType.NO_NATS_ALLOWED, ends)]


def _ours(core: Core, sa: IkeSa) -> tuple[str, ...]:
    return further(core.addresses, sa.peer.local_addresses if sa.peer else (), sa.path.local)


def _further(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS, one for each."""
    found: list[wire.Payload] = []
    for text in _ours(core, sa):
        address = ipaddress.ip_address(text)
        kind = NotifyType.ADDITIONAL_IP4_ADDRESS if address.version == 4 else NotifyType.ADDITIONAL_IP6_ADDRESS
        found.append(_notify(kind, address.packed))
    return found


def _addresses(message: Message) -> tuple[str, ...] | None:
    """The peer's further addresses; None where the message says nothing of them (RFC 4555 3.6)."""
    found = []
    kinds = {NotifyType.ADDITIONAL_IP4_ADDRESS: 4, NotifyType.ADDITIONAL_IP6_ADDRESS: 16}
    said = message.notify(NotifyType.NO_ADDITIONAL_ADDRESSES) is not None
    for notify in message.all(wire.Notify):
        if notify.type in kinds:
            said = True
            if len(notify.data) == kinds[NotifyType(notify.type)]:
                found.append(str(ipaddress.ip_address(notify.data)))
    return tuple(found[:MAX_ADDRESSES]) if said else None


# --- who leads: our addresses changed, or the path did ---


def go(core: Core, sa: IkeSa, path: Path) -> None:
    """Use this path from now on. Who leads tells the peer; who does not says where it is now (RFC 4555 3.5, 3.6).

    Children go at once where only our own end is another; towards another address of the peer's once it answered there.
    Raises Refused.
    """
    mobility = sa.mobility
    assert mobility is not None
    mobility.probes = ()
    if path.remote == sa.path.remote or not mobility.leads:
        move(core, sa, path, encapsulate=sa.encapsulate)
    else:
        sa.path = path
    resend(core, sa)
    if mobility.leads:
        _put_first(sa, _updating(core))
    else:
        _put_first(sa, _announcing(core))
    next_task(core, sa)


def _put_first(sa: IkeSa, task: Task) -> None:
    """Before whatever else waits, and once."""
    sa.tasks[:] = [task, *(other for other in sa.tasks if other.label != task.label)]


def _updating(core: Core) -> Task:
    return Task("updating the addresses", lambda sa: update_addresses(core, sa), about_addresses=True)


def _announcing(core: Core) -> Task:
    return Task("announcing our addresses", lambda sa: announce(core, sa), about_addresses=True)


def _checking(core: Core, path: Path) -> Task:
    return Task("checking the peer's new address", lambda sa: _check_route(core, sa, path))


async def _ask(core: Core, sa: IkeSa, payloads: list[wire.Payload], again: Task) -> Message:
    """The response; when the SA was rekeyed and ends unanswered, the new one begins `again`."""
    try:
        return await ask_peer(ExchangeType.INFORMATIONAL, payloads, tries=_tries(sa))
    except Closed:
        if (living := sa.living) is not sa:
            start(core, living, again)
        raise


def _tries(sa: IkeSa) -> int:
    """Transmissions before we give up the peer; 0 for as many as configured, where it is known to be where we ask.

    A peer that moved, or that we look for elsewhere, may be gone from there already, and telling us so: it is waited
    for as long as a peer tells by itself (RFC 4555 3.11: there should be enough time to detect and to recover).
    """
    if sa.peer is None or all(child.outbound.destination == sa.path.remote for child in sa.living.children.values()):
        return 0
    asking, telling = sa.peer.retransmission, Retransmission()
    patience = sum(telling.wait(sent, 1.0) for sent in range(1, telling.tries + 1))
    tries, waited = 0, 0.0
    while tries < asking.tries or (waited < patience and tries < _MOST_TRIES):
        tries += 1
        waited += asking.wait(tries, 0.0)
    return tries


async def update_addresses(core: Core, sa: IkeSa) -> None:
    """Tell the peer, as who leads, to use the path that we use.

    --> HDR, SK {N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*) or N(NO_NATS_ALLOWED), N(COOKIE2), [N(ADDITIONAL_*)]}
    <-- HDR, SK {N(NAT_DETECTION_*), N(COOKIE2)}   or N(UNACCEPTABLE_ADDRESSES)   or N(UNEXPECTED_NAT_DETECTED)
    """
    mobility = sa.mobility
    assert mobility is not None
    for _ in range(_TRIES):
        path, cookie = sa.path, core.random(_COOKIE_OCTETS)
        request: list[wire.Payload] = [_notify(NotifyType.UPDATE_SA_ADDRESSES)]
        request += detection_of(core, sa, path) if sa.nat.supported else _no_nats(core, sa, path)
        request += [_notify(NotifyType.COOKIE2, cookie), *(_further(core, sa) or [_none()])]
        mobility.announced = _ours(core, sa)
        response = await _ask(core, sa, request, _updating(core))
        sa = sa.living
        if sa.path != path:  # moved again meanwhile: that update follows
            return
        _check_cookie(response, cookie)
        if response.notify(NotifyType.UNACCEPTABLE_ADDRESSES):
            raise Close(None, f"the peer does not accept us at {path.local} (UNACCEPTABLE_ADDRESSES)")
        if not response.notify(NotifyType.UNEXPECTED_NAT_DETECTED):
            _settle(core, sa, path, detect_nat(core, response, path))
            destination = response.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
            mobility.seen_as = destination.data if destination else b""
            return
    raise Close(None, "there is a NAT on the way, which neither end can cross (UNEXPECTED_NAT_DETECTED)")


def _none() -> wire.Notify:
    return _notify(NotifyType.NO_ADDITIONAL_ADDRESSES)


def _check_cookie(response: Message, cookie: bytes) -> None:
    """RFC 4555 3.7: only who saw the request can give its cookie back."""
    notify = response.notify(NotifyType.COOKIE2)
    if notify is None or notify.data != cookie:
        raise Close(None, "the peer did not give back the cookie by which its address is checked (COOKIE2)")


def _settle(core: Core, sa: IkeSa, path: Path, nat: Nat) -> None:
    """The path works: children go there, and ESP is put in UDP, or no longer, as its NATs want it."""
    if nat.supported:
        sa.nat = nat
    encapsulate = sa.nat.supported and (sa.nat.found or must_encapsulate(core, sa.peer))
    try:
        move(core, sa, path, encapsulate=encapsulate)
    except Refused as refused:
        raise Close(None, f"the data plane cannot follow to {path.text}: {refused.why}") from None
    keep_alive(core, sa)


async def announce(core: Core, sa: IkeSa) -> None:
    """Which addresses we have: who does not lead can but tell, and hope to be called there (RFC 4555 3.6).

    --> HDR, SK {N(ADDITIONAL_*_ADDRESS)… or N(NO_ADDITIONAL_ADDRESSES), [N(NO_NATS_ALLOWED)]}
    <-- HDR, SK {}
    """
    assert sa.mobility is not None
    sa.mobility.announced = _ours(core, sa)
    request = [*(_further(core, sa) or [_none()]), *_no_nats(core, sa, sa.path)]
    await _ask(core, sa, request, _announcing(core))


def tell_on(core: Core, old: IkeSa, path: Path) -> None:
    """Say where we are by the SA that was rekeyed: the peer may not know the new one yet."""
    old.path = path
    resend(core, old)
    start(core, old, _updating(core) if old.mobility and old.mobility.leads else _announcing(core))


def tell_addresses(core: Core, sa: IkeSa) -> None:
    """Announce our further addresses, if they are others than the peer knows."""
    if sa.mobility is not None and sa.mobility.announced != _ours(core, sa):
        _put_first(sa, _announcing(core))
        next_task(core, sa)


def arrived(core: Core, sa: IkeSa, path: Path) -> None:
    """A response came on this path: when it is one of those we tried because ours seemed dead, it is ours now."""
    mobility = sa.mobility
    if mobility is None or not mobility.probes:
        return
    tried = [probe for probe in mobility.probes if (probe.local, probe.remote) == (path.local, path.remote)]
    mobility.probes = ()
    if tried:
        sa.path = tried[0]
        _put_first(sa, _updating(core))


def hashes_for_liveness(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """RFC 4555 3.8: from behind a NAT, who leads asks besides whether the mapping is still the same."""
    return detection_of(core, sa, sa.path) if sa.mobility and sa.mobility.leads and sa.living.nat.here else []


def compare_mapping(core: Core, sa: IkeSa, response: Message) -> None:
    """The peer sees us elsewhere than before: our NAT has a new mapping, which it must be told of.

    The hash covers the SPIs: after a rekey, as at the very first look, there is nothing to compare with, and an update
    does no harm. A peer that may not have the new SA yet is told by the old one.
    """
    living = sa.living
    destination = response.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if living.mobility is None or destination is None:
        return
    before, living.mobility.seen_as = living.mobility.seen_as, destination.data
    if before != destination.data:
        _put_first(core.sas.get(living.requests.silent, living), _updating(core))


# --- what the peer sends ---


def answer(core: Core, sa: IkeSa, request: Message, path: Path) -> list[wire.Payload]:
    """What an INFORMATIONAL request says of addresses, and what its response says to that; `path` is its way here."""
    if sa.mobility is None:
        return []
    response: list[wire.Payload] = []
    if cookie := request.notify(NotifyType.COOKIE2):
        if not 8 <= len(cookie.data) <= 64:
            raise Reject(NotifyType.INVALID_SYNTAX, f"a COOKIE2 of {len(cookie.data)} octets")
        response.append(_notify(NotifyType.COOKIE2, cookie.data))
    if nat_is_unexpected(core, request, path):
        return [*response, _notify(NotifyType.UNEXPECTED_NAT_DETECTED)]
    update = request.notify(NotifyType.UPDATE_SA_ADDRESSES) is not None and not sa.mobility.leads
    if update and not _acceptable(sa, path):
        core.count("mobike-unacceptable")
        return [*response, _notify(NotifyType.UNACCEPTABLE_ADDRESSES)]
    if request.notify(NotifyType.NAT_DETECTION_SOURCE_IP) and sa.nat.supported:
        response += detection_of(core, sa, path)
    addresses = _addresses(request)
    if update or addresses is not None:
        if _is_outdated(sa):
            core.count("mobike-outdated")
            return response
        sa.mobility.told_by = sa.id
    if update:
        _adopt(core, sa, path, detect_nat(core, request, path))
    if addresses is not None:
        sa.mobility.theirs = addresses
        # RFC 4555 3.5: the set no longer holds the address that we use
        if sa.mobility.leads and path.remote != sa.path.remote and sa.path.remote not in addresses:
            _go_after(core, sa, path)
    return response


def _is_outdated(sa: IkeSa) -> bool:
    """Whether the peer has said where it is by an SA that took this one's place.

    Within an SA message IDs keep words in order (RFC 4555 3.5); one that was held back on its way, by the old SA which
    still waits for its end, would undo a newer one by the new.
    """
    assert sa.mobility is not None
    newer = sa.replaced_by
    while newer is not None and newer.id != sa.mobility.told_by:
        newer = newer.replaced_by
    return newer is not None


def _acceptable(sa: IkeSa, path: Path) -> bool:
    """The same that an IKE_SA_INIT from there would be measured by."""
    peer = sa.peer
    return (
        peer is not None
        and peer.accepts_address(path.remote) > 0
        and (not peer.local_addresses or path.local in peer.local_addresses)
    )


def _adopt(core: Core, sa: IkeSa, path: Path, nat: Nat) -> None:
    """The peer, who leads, is at this path now: IKE follows at once, children when it has proven to be there.

    It may say so by an SA that was rekeyed, when it does not know yet that we have the new one.
    """
    if sa.replaced_by is not None:
        sa.path = path
        resend(core, sa)
        sa = sa.living
    if nat.supported:
        sa.nat = nat
    known = all(child.outbound.destination == path.remote for child in sa.children.values())
    if known:
        _settle(core, sa, path, Nat())
    else:
        sa.path = path
        sa.encapsulate = sa.nat.supported and (sa.nat.found or must_encapsulate(core, sa.peer))
        _put_first(sa, _checking(core, path))
    resend(core, sa)


async def _check_route(core: Core, sa: IkeSa, path: Path) -> None:
    """Does the peer receive what is sent to the address that it claims? (RFC 4555 3.7)

    --> HDR, SK {N(COOKIE2)}   <-- HDR, SK {N(COOKIE2)}
    """
    if sa.path != path:
        return
    cookie = core.random(_COOKIE_OCTETS)
    response = await _ask(core, sa, [_notify(NotifyType.COOKIE2, cookie)], _checking(core, path))
    sa = sa.living
    if sa.path == path:  # else it went out to several addresses, and another check follows
        _check_cookie(response, cookie)
        _settle(core, sa, path, Nat())


def _go_after(core: Core, sa: IkeSa, path: Path) -> None:
    """The peer, who does not lead, lost the address that we used, and wrote from this one."""
    living = sa.living
    for one in {sa.id: sa, living.id: living}.values():
        one.path = path
        if one.requests.pending is not None:
            one.requests.pending.tries = _tries(one) or one.requests.pending.tries
        resend(core, one)
    _put_first(core.sas.get(living.requests.silent, living), _updating(core))
