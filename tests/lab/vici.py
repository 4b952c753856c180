"""A client of strongSwan's VICI protocol (version 1): commands and their answers over charon's own socket."""

import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

# A section maps names to texts, lists of texts and further sections.
Section: TypeAlias = "dict[str, str | list[str] | Section]"

# Packet types; 4 (unregister an event) and 6 (unknown event) are not used.
CMD_REQUEST, CMD_RESPONSE, CMD_UNKNOWN, EVENT_REGISTER, EVENT_CONFIRM, EVENT = 0, 1, 2, 3, 5, 7
SECTION_START, SECTION_END, KEY_VALUE, LIST_START, LIST_ITEM, LIST_END = range(1, 7)


class ViciError(Exception):
    """Charon refused a command, or does not know it; the text is its reason."""


class Vici:
    """One connection to a charon; every call waits at most `timeout` seconds for its answer."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> "Vici":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def request(self, command: str, arguments: Mapping[str, str | list[str]] | None = None) -> Section:
        """Send a command and answer its response; raises ViciError when it says `success = no`."""
        self._send(CMD_REQUEST, command, encode(arguments or {}))
        return self._response(command)

    def stream(self, command: str, event: str, arguments: Mapping[str, str | list[str]] | None = None) -> list[Section]:
        """Send a command that answers by a series of events, as "list-sas" does by "list-sa"; answers the events."""
        self._send(EVENT_REGISTER, event, b"")
        if self._receive()[0] != EVENT_CONFIRM:
            raise ViciError(f"charon knows no event {event}")
        self._send(CMD_REQUEST, command, encode(arguments or {}))
        events: list[Section] = []
        self._response(command, events)
        return events

    def _response(self, command: str, events: list[Section] | None = None) -> Section:
        while True:
            kind, body = self._receive()
            if kind == CMD_UNKNOWN:
                raise ViciError(f"charon knows no command {command}")
            if kind == EVENT and events is not None:
                events.append(decode(body[1 + body[0] :]))
            elif kind == CMD_RESPONSE:
                answer = decode(body)
                if answer.get("success", "yes") != "yes":
                    raise ViciError(f"{command}: {answer.get('errmsg')}")
                return answer

    def _send(self, kind: int, name: str, message: bytes) -> None:
        packet = bytes([kind]) + _short(name) + message
        self.socket.sendall(struct.pack("!I", len(packet)) + packet)

    def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", self._exactly(4))
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise ViciError("charon closed the connection")
            parts += part
        return parts


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _long(text: str) -> bytes:
    octets = text.encode()
    return struct.pack("!H", len(octets)) + octets


def encode(values: Mapping[str, str | list[str]]) -> bytes:
    """A message of texts and lists; our commands need no nested sections."""
    message = b""
    for name, value in values.items():
        if isinstance(value, str):
            message += bytes([KEY_VALUE]) + _short(name) + _long(value)
        else:
            message += bytes([LIST_START]) + _short(name)
            message += b"".join(bytes([LIST_ITEM]) + _long(item) for item in value) + bytes([LIST_END])
    return message


def decode(message: bytes) -> Section:
    """The sections of a message."""
    tokens = _tokens(message)
    root: Section = {}
    open_sections = [root]
    for kind, name, value in tokens:
        here = open_sections[-1]
        if kind == KEY_VALUE:
            here[name] = value
        elif kind == SECTION_START:
            inner: Section = {}
            here[name] = inner
            open_sections.append(inner)
        elif kind == SECTION_END:
            open_sections.pop()
        elif kind == LIST_START:
            items: list[str] = []
            for inner_kind, _, item in tokens:
                if inner_kind == LIST_END:
                    break
                items.append(item)
            here[name] = items
    return root


def _tokens(message: bytes) -> Iterator[tuple[int, str, str]]:
    at = 0
    while at < len(message):
        kind, name, value = message[at], "", ""
        at += 1
        if kind in (SECTION_START, KEY_VALUE, LIST_START):
            name = message[at + 1 : at + 1 + message[at]].decode()
            at += 1 + message[at]
        if kind in (KEY_VALUE, LIST_ITEM):
            (length,) = struct.unpack_from("!H", message, at)
            value = message[at + 2 : at + 2 + length].decode(errors="replace")
            at += 2 + length
        yield kind, name, value
