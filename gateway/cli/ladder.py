"""Shows decoded packets as a ladder: one end left, the other right, the payloads indented below each message."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from gateway.cli.decoding import Seen

_SHOWN = 32  # hexadecimal digits of opaque data
_ANY_PORTS = [0, 65535]

Described = dict[str, Any]


class Ladder:
    """Remembers which end of each conversation stands left: the one that was seen first."""

    def __init__(self) -> None:
        self._left: dict[frozenset[str], str] = {}
        self._start: float | None = None

    def lines(self, seen: Seen) -> list[str]:
        """The packet's line and those below it."""
        head = f"{seen.number:5} {self._time(seen):>11}  {self._ends(seen)}  {_title(seen)}"
        return [head.rstrip(), *("        " + line for line in _below(seen))]

    def _time(self, seen: Seen) -> str:
        if seen.at is None:
            return "-"
        if self._start is None:
            self._start = seen.at
        return f"{seen.at - self._start:.6f}"

    def _ends(self, seen: Seen) -> str:
        pair = frozenset((seen.source, seen.destination))
        left = self._left.setdefault(pair, seen.source)
        if left == seen.source:
            return f"{seen.source} --> {seen.destination}"
        return f"{seen.destination} <-- {seen.source}"


def begins(at: float | None) -> str:
    """When a capture begins, for people."""
    try:
        return "" if at is None else f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "at a time that no calendar has"


def _title(seen: Seen) -> str:
    if seen.kind == "malformed":
        return f"malformed: {seen.note}"
    if seen.kind == "keepalive":
        return "NAT keepalive"
    if seen.esp is not None:
        return f"ESP {seen.esp.spi:08x} number {seen.esp.sequence}, {seen.octets} octets"
    message = seen.message or {}
    what = "response" if message["response"] else "request"
    who = "initiator" if message["initiator"] else "responder"
    return f"{message['exchange']} {what} {message['message_id']} by the {who}, {seen.octets} octets"


def _below(seen: Seen) -> list[str]:
    if seen.esp is not None:
        inner = [seen.esp.inner.summary] if seen.esp.inner else []
        return inner + ([seen.note] if seen.note else [])
    if seen.message is None:
        return []
    lines = [f"SPIs {seen.message['spi_i']} {seen.message['spi_r']}"]
    for payload in seen.message["payloads"]:
        lines += payload_lines(payload)
    if "inside" in seen.message:
        inside = [line for payload in seen.message["inside"] for line in payload_lines(payload)]
        lines += ["  " + line for line in inside or ["(empty)"]]
    elif seen.note:
        lines.append("  " + seen.note)
    return lines


def payload_lines(payload: Described) -> list[str]:
    """One payload; its name first, what it holds behind it or indented below."""
    name = str(payload["payload"]) + (" (critical)" if payload.get("critical") else "")
    show = _SHOWS.get(payload["payload"], _other)
    first, *rest = show(payload) or [""]
    return [f"{name} {first}".rstrip(), *("  " + line for line in rest)]


def _sa(payload: Described) -> list[str]:
    lines = [""]
    for proposal in payload["proposals"]:
        spi = f" SPI {proposal['spi']}" if proposal["spi"] else ""
        words = [_transform(transform) for transform in proposal["transforms"]]
        lines.append(f"{proposal['number']} {proposal['protocol']}{spi}: {', '.join(words)}")
    return lines


def _transform(transform: Described) -> str:
    bits = f" {transform['key_bits']}" if "key_bits" in transform else ""
    named = "_" in transform["name"] or not transform["name"].isdecimal()
    odd = " (with attributes that we do not know)" if "attributes" in transform else ""
    if transform["type"] in ("ENCR", "PRF", "INTEG") and named and transform["name"] != "NONE":
        return f"{transform['name']}{bits}{odd}"
    return f"{transform['type']} {transform['name']}{bits}{odd}"


def _selectors(payload: Described) -> list[str]:
    return [", ".join(_selector(one) for one in payload["selectors"])]


def _selector(selector: Described) -> str:
    if "addresses" not in selector:
        return f"{selector['type']} {_opaque(selector)}"
    protocol = f" protocol {selector['protocol']}" if selector["protocol"] else ""
    low, high = selector["ports"]
    ports = "" if [low, high] == _ANY_PORTS else f" ports {low}" + (f"-{high}" if high != low else "")
    return f"{selector['addresses']}{protocol}{ports}"


def _notify(payload: Described) -> list[str]:
    words = [payload["type"]]
    if payload.get("error"):
        words.append("(an error)")
    if "spi" in payload:
        words.append(f"{payload.get('protocol', '')} SPI {payload['spi']}".strip())
    if "meaning" in payload:
        words.append(payload["meaning"])
    elif payload["octets"]:
        words.append(_opaque(payload))
    return [" ".join(words)]


def _identity(payload: Described) -> list[str]:
    return [f"{payload['type']} {payload['identity']}"]


def _delete(payload: Described) -> list[str]:
    return [f"{payload['protocol']} {' '.join(payload['spis'])}".rstrip()]


def _configuration(payload: Described) -> list[str]:
    lines = [payload["type"]]
    for attribute in payload["attributes"]:
        value = attribute["value"] if "value" in attribute else _opaque(attribute)
        lines.append(f"{attribute['type']} {value}".rstrip())
    return lines


def _eap(payload: Described) -> list[str]:
    words = [payload["code"], payload.get("method", ""), payload.get("identity", "")]
    return [" ".join(word for word in (*words, f"identifier {payload['identifier']}", _opaque(payload)) if word)]


def _vendor_id(payload: Described) -> list[str]:
    return [_opaque(payload)]


def _encrypted(payload: Described) -> list[str]:
    part = f"fragment {payload['fragment']} of {payload['total']}, " if "fragment" in payload else ""
    return [f"{part}{payload['octets']} octets"]


def _other(payload: Described) -> list[str]:
    words = [str(payload[key]) for key in ("method", "encoding", "type") if key in payload]
    return [" ".join([*words, _opaque(payload)])]


def _opaque(described: Described) -> str:
    if "octets" not in described:
        return ""
    data = described.get("data", "")
    cut = data[:_SHOWN] + ("…" if len(data) > _SHOWN else "")
    return f"{described['octets']} octets {cut}".rstrip()


_SHOWS: dict[str, Callable[[Described], list[str]]] = {
    "SA": _sa,
    "TSi": _selectors,
    "TSr": _selectors,
    "Notify": _notify,
    "IDi": _identity,
    "IDr": _identity,
    "Delete": _delete,
    "CP": _configuration,
    "EAP": _eap,
    "VendorId": _vendor_id,
    "SK": _encrypted,
    "SKF": _encrypted,
}
