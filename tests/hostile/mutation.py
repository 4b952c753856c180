"""Damage by chance: to octets, and to lists of payloads, where it stays well formed and gets further."""

import random
from collections.abc import Sequence
from dataclasses import fields, is_dataclass

from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType

_EDGES = (0, 1, 2, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 127, 128, 255)
_SIZES = (0, 1, 3, 4, 5, 8, 16, 20, 32, 64, 255, 256, 257, 2048, 20_000)


def damaged(chance: random.Random, octets: bytes) -> bytes:
    """One to six changes of single octets, ranges and lengths."""
    data = bytearray(octets)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        size = chance.choice((1, 1, 1, 2, 4, 16))
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                data[at : at + 1] = bytes((chance.choice(_EDGES),))
            case 2:
                data[at : at + size] = b""
            case 3:
                data[at:at] = chance.randbytes(size)
            case 4:
                source = chance.randrange(len(data) + 1)
                data[at:at] = data[source : source + chance.choice((4, 8, 40))]
            case 5:
                del data[at:]
            case 6:
                data[at : at + 2] = chance.choice((0, 1, 3, 4, 8, len(data) & 0xFFFF, 0x7FFF, 0xFFFF)).to_bytes(2)
    return bytes(data)


def with_true_length(datagram: bytes) -> bytes:
    """The header's length field made right again, so that the parser goes on."""
    return datagram if len(datagram) < 28 else datagram[:24] + len(datagram).to_bytes(4) + datagram[28:]


def _other(chance: random.Random, value: object) -> object:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return chance.choice((0, 1, 2, 3, 4, 255, 256, 16383, 16384, 65535, value ^ 1, chance.randrange(256)))
        case bytes():
            if chance.random() < 0.5:
                return damaged(chance, value)
            return chance.randbytes(chance.choice(_SIZES))
        case list() if value:
            items = list(value)
            at = chance.randrange(len(items))
            match chance.randrange(4):
                case 0:
                    del items[at]
                case 1:
                    items.insert(at, items[at])
                case 2:
                    items *= chance.choice((2, 8, 40))
                case 3:
                    items[at] = changed(chance, items[at]) if is_dataclass(items[at]) else _other(chance, items[at])
            return items
        case _:
            return value


def changed(chance: random.Random, thing: object) -> object:
    """The same payload, proposal, transform or selector with one field of another value."""
    names = [field.name for field in fields(thing)]  # type: ignore[arg-type]
    values = {name: getattr(thing, name) for name in names}
    name = chance.choice(names)
    values[name] = _other(chance, values[name])
    copy = object.__new__(type(thing))
    for name, value in values.items():
        setattr(copy, name, value)
    return copy


def rearranged(
    chance: random.Random, payloads: Sequence[wire.Payload], others: Sequence[wire.Payload]
) -> list[wire.Payload]:
    """The list with payloads lost, doubled, moved, altered, or strange ones put in."""
    found = list(payloads)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(6):
            case 0 if found:
                del found[at - 1]
            case 1 if found:
                found.insert(at, found[at - 1])
            case 2:
                chance.shuffle(found)
            case 3 if others:
                found.insert(at, chance.choice(others))
            case 4:
                known = [int(kind) for kind in NotifyType]
                kind = chance.choice((*known, chance.randrange(65536)))
                spi = chance.randbytes(chance.choice((0, 0, 4, 8, 255)))
                found.insert(at, wire.Notify(chance.choice((0, 1, 3, 9)), spi, kind, chance.randbytes(_pick(chance))))
            case _ if found:
                altered = changed(chance, found[at - 1])
                assert isinstance(altered, wire.Payload)
                found[at - 1] = altered
    return found


def _pick(chance: random.Random) -> int:
    return chance.choice(_SIZES[:-1])
