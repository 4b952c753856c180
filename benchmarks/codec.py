"""CPU time of parsing and building IKE messages, in microseconds: `python -m benchmarks.codec`."""

import os
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.primitives import measure
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, build_payloads, parse, parse_payloads
from gateway.wire.numbers import ExchangeType, NotifyType

Case = tuple[str, Callable[[], object]]


def offer(fresh: int = 0) -> wire.SA:
    """Two proposals with five transforms each; `fresh` makes their octets new."""
    rest = [wire.Transform(2, 5), wire.Transform(2, 6), wire.Transform(4, 31), wire.Transform(4, 19)]
    ciphers = wire.Transform(1, 20, fresh or 256), wire.Transform(1, 12, fresh or 256)
    return wire.SA([wire.Proposal(number, 1, b"", [cipher, *rest]) for number, cipher in enumerate(ciphers, 1)])


def ike_sa_init(fresh: int = 0) -> Message:
    notifies: list[wire.Payload] = [
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_SOURCE_IP, os.urandom(20)),
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_DESTINATION_IP, os.urandom(20)),
        wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b""),
        wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, bytes(8)),
        wire.Notify(0, b"", NotifyType.REDIRECT_SUPPORTED, b""),
    ]
    payloads = [offer(fresh), wire.KE(31, os.urandom(32)), wire.Nonce(os.urandom(32)), *notifies]
    return Message(os.urandom(8), bytes(8), ExchangeType.IKE_SA_INIT, True, False, 0, payloads)


def inside_ike_auth() -> list[wire.Payload]:
    everything = wire.TrafficSelector(7, 0, 0, 65535, bytes(4), b"\xff" * 4)
    esp = [wire.Transform(1, 20, 256), wire.Transform(5, 0)]
    return [
        wire.IDi(2, b"carol.example"),
        wire.AUTH(2, os.urandom(32)),
        wire.CP(1, [wire.Attribute(1, b""), wire.Attribute(3, b"")]),
        wire.SA([wire.Proposal(1, 3, os.urandom(4), esp)]),
        wire.TSi([everything]),
        wire.TSr([everything]),
    ]


def cases() -> Iterator[Case]:
    message = ike_sa_init()
    yield f"IKE_SA_INIT of {len(build(message))} octets: parse", partial(parse, build(message))
    never_seen = iter(range(1, 1 << 30))

    def parse_new() -> None:
        datagram[50:52] = (next(never_seen) & 0xFFFF).to_bytes(2)
        parse(bytes(datagram))

    datagram = bytearray(build(message))
    yield "the same, an offer not seen before: parse", parse_new
    yield "the same: build", partial(build, message)
    inner = inside_ike_auth()
    first, octets = build_payloads(inner)
    yield f"inside of IKE_AUTH, {len(octets)} octets: parse", partial(parse_payloads, first, octets)
    yield "the same: build", partial(build_payloads, inner)
    yield "one payload of eight: one()", partial(message.one, wire.Nonce)


if __name__ == "__main__":
    for name, call in cases():
        print(f"{name:60} {measure(call):8.2f}")
