"""What gets lost on a path because it is large, told from what was sent, what came, and what never did (RFC 7383)."""

from collections.abc import Sequence

from gateway.ike.fragments import Partial, ip_overhead
from gateway.ike.path import Path
from gateway.ike.sa import IkeSa
from gateway.ike.window import Pending, Requests, Window
from gateway.wire.numbers import ExchangeType, name_of

CAUSE = "messages-lost"
_SURE = {4: 576, 6: 1280}
"""Octets of the IP datagrams that every path carries (RFC 791, RFC 8200 5)."""
_SHOWN = 8
_ASKED_AGAIN = 2


def of_request(sa: IkeSa, pending: Pending) -> str:
    """Nobody answered our request: that it, or its answer, got lost for its size, in a clause; empty if it is small."""
    if unfinished := _unfinished(sa.requests) or sa.incomplete:
        return unfinished
    if size := _size(sa, pending.datagrams):
        return f"our {name_of(ExchangeType, pending.exchange)} request, {size}, seems to get lost on the way"
    return ""


def of_half_open(sa: IkeSa) -> str:
    """The initiator did not go on: what of its request or our response got lost; empty if nothing says that."""
    if unfinished := _unfinished(sa.responses) or sa.incomplete:
        return unfinished
    repeats, size = sa.responses.repeats, _size(sa, sa.responses.last_response)
    if size and repeats >= _ASKED_AGAIN:
        return f"it asked {repeats} times again for our last response, {size}, which seems to get lost on the way"
    return ""


def forget(sa: IkeSa, window: Window) -> None:
    """Give up what came of an unfinished message, and keep in words what it was."""
    sa.incomplete = _unfinished(window) or sa.incomplete
    window.discard()


def _unfinished(window: Window) -> str:
    """Which fragments of a message came, and which did not; empty where none waits for others."""
    if (partial := window.partial) is None:
        return ""
    what = "response" if isinstance(window, Requests) else "request"
    return f"of its {name_of(ExchangeType, partial.exchange)} {what} {_missing(partial)}"


def _missing(partial: Partial) -> str:
    """`fragments 1 and 3 of 4 came, 2 and 4 never did`."""
    came = sorted(partial.pieces)
    lost = [number for number in range(1, partial.total + 1) if number not in partial.pieces]
    what = "fragment" if len(came) == 1 else "fragments"
    return f"{what} {_listed(came)} of {partial.total} came, {_listed(lost)} never did"


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) > _SHOWN:
        return ", ".join(map(str, numbers[:_SHOWN])) + f" and {len(numbers) - _SHOWN} more"
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _size(sa: IkeSa, datagrams: Sequence[bytes]) -> str:
    """How large what we sent is, in words; empty where every path carries it."""
    largest = max(map(len, datagrams), default=0) + ip_overhead(sa.path)
    if len(datagrams) > 1:
        return f"in {len(datagrams)} fragments of up to {largest} octets"
    return f"one datagram of {largest} octets" if largest > _sure(sa.path) else ""


def _sure(path: Path) -> int:
    return _SURE[path.version]
