"""A name server in a namespace, and the resolver's file that leads to it: names that come to lead elsewhere."""

import contextlib
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.lab.namespaces import Namespace

_PLACE = "127.0.0.53"
_ETC = Path("/etc/netns")  # ip-netns(8): what lies here is laid over /etc for commands in the namespace
_HEADER = struct.Struct(">HHHHHH")
_A, _IN, _TTL = 1, 1, 60
_ANSWER, _NO_SUCH_NAME = 0x8580, 0x8583


class Names:
    """Answers questions for IPv4 addresses (RFC 1035) from `known`, which may change at any time."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.asked: list[str] = []
        """Names, in the order of the questions for their addresses."""

    def answer(self, question: bytes) -> bytes:
        number, *_ = _HEADER.unpack_from(question)
        labels, at = [], _HEADER.size
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind, _ = struct.unpack_from(">HH", question, at + 1)
        name, asked = ".".join(labels), question[_HEADER.size : at + 5]
        address = self.known.get(name)
        if kind == _A:
            self.asked.append(name)
        if address is None:
            return _HEADER.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + asked
        if kind != _A:
            return _HEADER.pack(number, _ANSWER, 1, 0, 0, 0) + asked
        record = struct.pack(">HHHIH", 0xC000 | _HEADER.size, _A, _IN, _TTL, 4) + socket.inet_aton(address)
        return _HEADER.pack(number, _ANSWER, 1, 1, 0, 0) + asked + record


@contextlib.contextmanager
def name_server(ns: Namespace) -> Iterator[Names]:
    """Commands that are started in the namespace from now on resolve names here."""
    folder = _ETC / ns.name
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text(f"nameserver {_PLACE}\noptions timeout:1 attempts:1\n")
    (folder / "nsswitch.conf").write_text("hosts: files dns\n")
    names = Names()
    with ns.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((_PLACE, 53))
    thread = threading.Thread(target=_serve, args=(sock, names), daemon=True)
    thread.start()
    try:
        yield names
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        sock.close()
        shutil.rmtree(folder)


def _serve(sock: socket.socket, names: Names) -> None:
    while True:
        try:
            question, sender = sock.recvfrom(512)
        except OSError:
            return
        if not question:  # shut down
            return
        sock.sendto(names.answer(question), sender)
