"""Requests that go to the kernel together, and what takes them back when one of them fails."""

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.dataplane.netlink import Netlink, NetlinkError, Request
from gateway.ike.plane import Refused

_log = logging.getLogger(__name__)

ABSENT = frozenset({errno.ESRCH, errno.ENOENT})
_HINTS = {
    errno.EPERM: "; the process needs the capability CAP_NET_ADMIN",
    errno.EPROTONOSUPPORT: "; this kernel has no ESP (CONFIG_INET_ESP, CONFIG_INET6_ESP)",
    errno.ENOSYS: "; this kernel lacks the algorithm",
}


def refusal(doing: str, failure: OSError) -> Refused:
    """What was being done and the kernel's own words, as one sentence."""
    words = str(failure) if isinstance(failure, NetlinkError) else failure.strerror or str(failure)
    return Refused(f"{doing}: the kernel says {words}{_HINTS.get(failure.errno or 0, '')}")


@dataclass(slots=True)
class Step:
    """One request; `doing` says what it is for, made into text only when it fails.

    `undo` makes what takes it back; `done` is called when it went well. `tolerated` errors do no harm. When the
    kernel no longer knows what the request is to replace (ESRCH), `otherwise` is sent instead.
    """

    request: Request
    doing: Callable[[], str]
    undo: Callable[[], Sequence[Request]] = tuple
    tolerated: frozenset[int] = frozenset()
    otherwise: Request | None = None
    done: Callable[[], object] | None = None


class Batch:
    """The steps of one `apply`: sent together, and taken back together."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._pending: list[Step] = []
        self._undo: list[Callable[[], Sequence[Request]]] = []
        self._callbacks: list[Callable[[], object]] = []

    def add(self, step: Step) -> None:
        self._pending.append(step)

    def on_rollback(self, callback: Callable[[], object]) -> None:
        """Have `callback` called, last registered first, if the batch fails."""
        self._callbacks.append(callback)

    def flush(self) -> None:
        """Send what is pending. Raises Refused for the first step that failed; those after it were tried, too."""
        steps, self._pending = self._pending, []
        try:
            outcomes = self._netlink.send([step.request for step in steps])
        except OSError as failure:
            raise refusal(f"{steps[0].doing()} and {len(steps) - 1} more", failure) from failure
        refused: Refused | None = None
        for step, outcome in zip(steps, outcomes, strict=True):
            if outcome and outcome.errno == errno.ESRCH and step.otherwise:
                (outcome,) = self._netlink.send([step.otherwise])
            if outcome is None:
                self._undo.append(step.undo)
                if step.done:
                    step.done()
            elif outcome.errno not in step.tolerated and refused is None:
                refused = refusal(step.doing(), outcome)
        if refused:
            raise refused

    def rollback(self) -> None:
        """Take back everything that was done."""
        self._pending.clear()
        for callback in reversed(self._callbacks):
            callback()
        self._callbacks.clear()
        requests = [request for undo in reversed(self._undo) for request in undo()]
        self._undo.clear()
        try:
            outcomes = self._netlink.send(requests)
        except OSError as failure:
            _log.warning("a refused batch may have left something behind: %s", failure)
            return
        for request, outcome in zip(requests, outcomes, strict=True):
            if outcome and outcome.errno not in ABSENT:
                _log.warning("a refused batch could not be taken back (message %d): %s", request[0], outcome)
