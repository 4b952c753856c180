"""What is wrong with a document, collected; and how addresses are read."""

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from gateway.policy.name_service import domain_of
from gateway.storage.objects import FieldError, Invalid

T = TypeVar("T")
Pointers = Callable[[str, str], str]  # where the object of a kind and a name stands in what came in
_HOST = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?"
)


class Findings:
    """Collects what is wrong, so that the person hears all of it at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def add(self, pointer: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(pointer, code, detail))

    def parse(self, pointer: str, code: str, read: Callable[[str], T], text: str) -> T | None:
        """The value read from the text, or None and a finding with the reader's own sentence."""
        try:
            return read(text)
        except ValueError as error:
            self.add(pointer, code, str(error))
            return None

    def parse_all(self, pointer: str, code: str, read: Callable[[str], T], texts: tuple[str, ...]) -> tuple[T, ...]:
        read_values = (self.parse(f"{pointer}/{index}", code, read, text) for index, text in enumerate(texts))
        return tuple(value for value in read_values if value is not None)

    def check(self) -> None:
        """Raises Invalid when anything was found."""
        if self.errors:
            raise Invalid(self.errors)


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None


def destination(text: str) -> str:
    """An address or network in its one canonical spelling, or a DNS name."""
    if "/" in text:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no network such as 10.0.0.0/8") from None
        if str(network.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
            raise ValueError(f"{text!r} has bits beyond its prefix; did you mean {network}?")
        return str(network)
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        return address(text)
    if not _HOST.fullmatch(text):
        raise ValueError(f"{text!r} is no address, network or DNS name")
    return text


def domain(text: str) -> str:
    """A domain in its one spelling, without the last dot."""
    if not (name := domain_of(text)):
        raise ValueError(f"{text!r} is no domain such as corp.example")
    return name
