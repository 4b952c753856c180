"""A protected message on its way in: whole, or fragment by fragment; new, or one that was answered before."""

from gateway.ike import driver
from gateway.ike.core import Core
from gateway.ike.fragments import PARTIAL_LIFETIME, PROBES, Partial, assemble, collect, ip_overhead, smaller
from gateway.ike.path import Path
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.window import Window
from gateway.wire.message import Message
from gateway.wire.outcome import Drop, Reject
from gateway.wire.payloads import SKF


def open_message(core: Core, sa: IkeSa, window: Window, message: Message, datagram: bytes) -> bytes | None:
    """Decrypt the message in place, when it is whole; a fragment waits for the others, and None comes back.

    Else the answer is the datagram by which a repeat is known: the message's own, or its first fragment's. Raises Drop
    and Reject as `Protection.open` does.
    """
    assert sa.protection is not None
    if not message.payloads or not isinstance(message.payloads[-1], SKF):
        sa.protection.open(datagram, message)
        window.discard()
        sa.incomplete = ""
        return datagram
    if not sa.fragmentation:
        raise Drop("fragment where none was agreed")
    proven = sa.state != Lifecycle.CONNECTING
    pool = core.proven_fragments if proven else core.unproven_fragments
    try:
        partial = collect(window.partial, pool, sa.protection, message, datagram, proven=proven)
    except Reject as reject:  # one fragment alone is no message yet that could be answered
        raise Drop(f"fragment: {reject.why}") from None
    if not partial.whole:
        if partial is not window.partial:
            window.partial = partial
            core.timers.set(("fragments", sa, window), core.now + PARTIAL_LIFETIME)
        return None
    window.partial, sa.incomplete = None, ""
    core.timers.cancel(("fragments", sa, window))
    _learn_size(sa, partial)
    core.count("reassembled")
    assemble(partial, message)
    return partial.head


def _learn_size(sa: IkeSa, partial: Partial) -> None:
    """RFC 7383 2.5.1: datagrams of the size that the peer's fragments have get through."""
    if partial.total > 1:
        arrived, floor = partial.largest + ip_overhead(sa.path), sa.fragmentation
        while step := smaller(sa.path, floor):
            floor = step
        sa.fragmentation = min(sa.fragmentation, max(floor, arrived))


def check_repeat(sa: IkeSa, message: Message, datagram: bytes) -> None:
    """Is this the request that we answered last, cut in another way? Raises Drop when it is not.

    RFC 7383 2.6.1: of a fragmented request, the first fragment alone asks for the response again.
    """
    protection = answered_under(sa)
    sealed = message.payloads[-1] if message.payloads else None
    try:
        if not isinstance(sealed, SKF):
            protection.open(datagram, message)
        elif sealed.fragment_number != 1:
            raise Drop("later fragment of a request that was answered")
        else:
            protection.open_fragment(datagram, sealed)
    except Reject as reject:
        raise Drop(f"again, but {reject.why}") from None


def answered_under(sa: IkeSa) -> Protection:
    """What protected the last request and our response: IKE_INTERMEDIATE changes the keys after it (RFC 9370 2.2.2)."""
    assert sa.protection is not None
    return (sa.intermediate and sa.intermediate.before) or sa.protection


def repeat_response(core: Core, sa: IkeSa, path: Path) -> None:
    """The same response again; when it is asked for ever again, in smaller fragments (RFC 7383 2.4)."""
    core.count("repeated")
    responses = sa.responses
    responses.repeats += 1
    if responses.repeats >= PROBES:
        smaller_response = driver.shrink(core, sa, answered_under(sa), responses.last_response)
        if smaller_response is not responses.last_response:
            responses.last_response, responses.repeats = smaller_response, 0
    core.send_all(responses.last_response, path, sa.dscp)
