"""UDP ports for servers of a test, which no other test and no client of theirs takes meanwhile."""

import itertools
import os
import socket

_FIRST, _PORTS, _EACH = 20000, 12000, 200
"""Below those that a kernel gives to clients (from 32768), and so many for each process."""
_numbers = itertools.count()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now; each call of a process answers others."""
    base = _FIRST + os.getpid() * _EACH % _PORTS
    found: list[int] = []
    while len(found) < count:
        port = base + next(_numbers) % _EACH
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("::", port))
        except OSError:
            return False
    return True
