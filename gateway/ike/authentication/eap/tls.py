"""EAP-TLS with TLS 1.2 and 1.3 (RFC 5216, RFC 9190): certificates, proven both ways, and a key.

TLS itself is a machine given from outside; here are its fragments, its end, and whose certificate it was.
"""

from collections.abc import Awaitable, Callable

from gateway.ike.authentication.eap.gate import Account, Gate, Proven
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, ServerTalk, read
from gateway.ike.authentication.eap.tls_machine import TlsFailed, TlsMachine
from gateway.wire.eap import TlsFragment
from gateway.wire.numbers import EapType
from gateway.wire.payloads import EAP

_KIND = EapType.EAP_TLS
_PIECE_OCTETS = 1024
MAX_FLIGHT_OCTETS = 65_536
"""What one end may send before the other speaks again: certificate chains take the most of it."""


async def gather(first: TlsFragment, more: Callable[[], Awaitable[TlsFragment]]) -> bytes:
    """All fragments of one flight. Each must bring something, and the whole must be as long as announced."""
    pieces, total, fragment, octets = [first.data], first.total, first, len(first.data)
    limit = MAX_FLIGHT_OCTETS if total is None else total
    if limit > MAX_FLIGHT_OCTETS:
        raise Failed("eap-protocol", f"EAP-TLS announces {total} octets; up to {MAX_FLIGHT_OCTETS} are allowed")
    while fragment.more:
        if not fragment.data:
            raise Failed("eap-protocol", "an EAP-TLS fragment says that more follows, and brings nothing")
        fragment = await more()
        if fragment.start or fragment.total not in (None, total):
            raise Failed("eap-protocol", "EAP-TLS begins anew, or announces another length, within one flight")
        octets += len(fragment.data)
        if octets > limit:
            raise Failed("eap-protocol", "EAP-TLS fragments are more than was announced, or is allowed")
        pieces.append(fragment.data)
    if total is not None and octets != total:
        raise Failed("eap-protocol", "EAP-TLS fragments are fewer octets than was announced")
    return b"".join(pieces)


def fragments(records: bytes) -> list[TlsFragment]:
    """A flight in pieces; the first of several announces the whole (RFC 5216 2.1.5)."""
    pieces = [records[start : start + _PIECE_OCTETS] for start in range(0, len(records), _PIECE_OCTETS)] or [b""]
    last = len(pieces) - 1
    return [
        TlsFragment(piece, len(records) if last and number == 0 else None, number < last)
        for number, piece in enumerate(pieces)
    ]


def _check_acknowledged(got: TlsFragment) -> None:
    if got.data or got.more or got.start or got.total:
        raise Failed("eap-protocol", "an EAP-TLS fragment was not acknowledged, but answered")


def _something(machine: TlsMachine) -> bytes:
    """What TLS has to say, where it is its turn."""
    if not (records := machine.take()):
        raise Failed("eap-protocol", "the other end's TLS flight is not complete, and it sends no more")
    return records


# --- the server's end ---


async def _ask(talk: ServerTalk, fragment: TlsFragment) -> TlsFragment:
    got = read(TlsFragment.read, await talk.ask(_KIND, fragment.octets()))
    if got.start:
        raise Failed("eap-protocol", "the peer sent EAP-TLS Start, which is the server's")
    return got


async def _exchange(talk: ServerTalk, records: bytes) -> bytes:
    """Our flight over, the peer's back."""
    *before, last = fragments(records)
    for fragment in before:
        _check_acknowledged(await _ask(talk, fragment))
    return await gather(await _ask(talk, last), lambda: _ask(talk, TlsFragment()))


async def serve(talk: ServerTalk, gate: Gate, claimed: str) -> Proven:
    """A TLS handshake in which the peer shows a certificate.

    <-- Request/Start
    --> Response(ClientHello)
    <-- Request(ServerHello … )        in fragments, as all flights
    --> Response(Certificate … Finished)
    <-- Request(octet 0, protected)    TLS 1.3; in TLS 1.2 the server's Finished
    --> Response()
    """
    assert gate.tls is not None
    try:
        machine = gate.tls()
    except TlsFailed as failed:
        raise Failed("eap-tls", failed.why) from None
    flight = await gather(await _ask(talk, TlsFragment(start=True)), lambda: _ask(talk, TlsFragment()))
    booked = gate.attempt(claimed)
    try:
        machine.feed(flight)
        while not machine.done:
            machine.feed(await _exchange(talk, _something(machine)))
        identity = gate.certified(claimed, machine.chain())
        machine.commit()
        if answer := await _exchange(talk, machine.take()):
            machine.feed(answer)  # an alert: the peer does not want us
            raise Failed("eap-protocol", "the peer goes on after the end of EAP-TLS")
    except TlsFailed as error:
        ended = Failed("eap-tls", error.why)
        if alert := machine.take():
            gate.doomed(ended)
            await _exchange(talk, alert)
        raise ended from None
    user = gate.find(identity)
    if user is not None and (barred := user.barred(gate.unix())):
        raise Failed("eap-user", f"the user {user.name} {barred}")
    gate.right(booked)
    return Proven(user.name if user else identity, _KIND, machine.msk(), user)


# --- the peer's end ---


async def _answer(talk: PeerTalk, asked: EAP, fragment: TlsFragment) -> EAP:
    return await talk.next_of(asked, _KIND, fragment.octets())


async def _over(talk: PeerTalk, asked: EAP, records: bytes) -> tuple[EAP, bytes]:
    """Our flight in answer to `asked`, then the server's whole: its last packet, and its records."""
    *before, last = fragments(records)
    for fragment in before:
        asked = await _answer(talk, asked, fragment)
        _check_acknowledged(read(TlsFragment.read, asked.method_data))
    asked = await _answer(talk, asked, last)

    async def more() -> TlsFragment:
        nonlocal asked
        asked = await _answer(talk, asked, TlsFragment())
        return read(TlsFragment.read, asked.method_data)

    flight = await gather(read(TlsFragment.read, asked.method_data), more)
    return asked, flight


async def prove(talk: PeerTalk, account: Account, asked: EAP) -> bytes:
    """Show our certificate, and believe the server by its own; the MSK."""
    opening = read(TlsFragment.read, asked.method_data)
    if not opening.start or opening.data or opening.more or account.tls is None:
        raise Failed("eap-protocol", "the server does not begin EAP-TLS with its Start")
    try:
        machine = account.tls()
        machine.feed(b"")
    except TlsFailed as failed:
        raise Failed("eap-tls", failed.why) from None
    try:
        while not machine.done or (machine.commits and not machine.committed):
            asked, flight = await _over(talk, asked, machine.take())
            machine.feed(flight)
        account.certified(machine.chain())
    except TlsFailed as failed:
        await talk.answer(asked, _KIND, TlsFragment(machine.take()[:_PIECE_OCTETS]).octets())
        raise Failed("eap-tls", failed.why) from None
    await talk.finish(asked, _KIND, TlsFragment(machine.take()).octets())
    return machine.msk()
