"""The packets that meet a trap before there is a state: the kernel keeps them if it is told to."""

import contextlib
import logging
import os

_log = logging.getLogger(__name__)

_SYSCTL = "/proc/sys/net/core/xfrm_larval_drop"


class FirstPackets:
    """net.core.xfrm_larval_drop of the network namespace in which the object is made.

    It is 1 in a fresh namespace: what comes while a state is being negotiated is dropped. At 0 the kernel queues up to
    100 packets for a policy and sends them when the state is there. It holds for all of the namespace, so it is set
    with the first trap and put back at the end.
    """

    def __init__(self) -> None:
        self._before = b""
        self._asked = False
        try:
            self._file = os.open(_SYSCTL, os.O_RDWR | os.O_CLOEXEC)
        except OSError as failure:  # read-only in most containers
            self._file, self._why = -1, failure.strerror

    def keep(self) -> None:
        """Have them kept from now on; that it cannot be is logged once."""
        if self._asked:
            return
        self._asked = True
        if self._file < 0:
            _log.info("the first packet of an on-demand tunnel is lost: %s: %s", _SYSCTL, self._why)
            return
        before = os.pread(self._file, 16, 0).strip()
        if before != b"0":
            os.pwrite(self._file, b"0", 0)
            self._before = before

    def close(self) -> None:
        if self._file < 0:
            return
        with contextlib.suppress(OSError):  # the namespace is gone
            if self._before:
                os.pwrite(self._file, self._before, 0)
        os.close(self._file)
        self._file = -1
