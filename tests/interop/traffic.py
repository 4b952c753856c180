"""Traffic that shows whether a tunnel carries octets whole."""

import contextlib
import socket

from tests.lab.namespaces import Namespace


def connects(here: Namespace, there: Namespace, address: str, port: int) -> bool:
    """Whether a megabyte goes through a TCP connection to that address of the other end."""
    octets = bytes(range(256)) * 4096
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with there.entered():
        server = socket.create_server((address if ":" in address else "0.0.0.0", port), family=family)
    with here.entered():
        client = socket.socket(family)
    with contextlib.closing(server), contextlib.closing(client):
        client.settimeout(10)
        server.settimeout(10)
        try:
            client.connect((address, port))
            taken, _ = server.accept()
        except TimeoutError:
            return False
        with contextlib.closing(taken):
            taken.settimeout(10)
            return _echoed(client, taken, octets)


def _echoed(client: socket.socket, server: socket.socket, octets: bytes) -> bool:
    """In slices that the buffers of both ends hold."""
    for start in range(0, len(octets), 1 << 14):
        part = octets[start : start + (1 << 14)]
        client.sendall(part)
        got = b""
        while len(got) < len(part):
            more = server.recv(1 << 16)
            if not more:
                return False
            got += more
        if got != part:
            return False
    return True
