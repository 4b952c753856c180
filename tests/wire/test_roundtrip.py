"""Whatever is built parses to the same, whatever parses is built to the same, and nothing else happens."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.message import (
    HEADER_OCTETS,
    Message,
    build,
    build_payloads,
    build_sk_header,
    build_skf_header,
    parse,
    parse_header,
    parse_payloads,
)
from gateway.wire.outcome import Drop
from gateway.wire.payloads import SK, SKF, Payload
from tests.wire.generated import chains, messages, sealed_payloads


def parses_exactly(octets: bytes) -> Message | None:
    try:
        message = parse(octets)
    except Drop:
        return None
    assert build(message) == octets
    return message


@given(messages)
def test_a_message_survives(message: Message) -> None:
    octets = build(message)
    again = parse(octets)
    assert again == message
    assert build(again) == octets
    assert [(p.critical, p.header_reserved) for p in again.payloads] == [
        (p.critical, p.header_reserved) for p in message.payloads
    ]
    header = parse_header(octets)
    assert header.length == len(octets)
    assert (header.initiator, header.response) == (message.initiator, message.response)


@given(chains, st.binary(max_size=20))
def test_inner_payloads_survive(payloads: list[Payload], before: bytes) -> None:
    first, octets = build_payloads(payloads)
    assert parse_payloads(first, octets) == payloads
    assert parse_payloads(first, memoryview(octets)) == payloads
    assert parse_payloads(first, before + octets, len(before)) == payloads
    assert build_payloads(parse_payloads(first, octets)) == (first, octets)


@given(messages, sealed_payloads)
def test_an_encrypted_payload_is_framed_as_it_is_parsed(message: Message, sealed: Payload) -> None:
    assert isinstance(sealed, (SK, SKF))
    sealed.critical, sealed.header_reserved = False, 0
    message.payloads = [payload for payload in message.payloads if not isinstance(payload, (SK, SKF))]
    if isinstance(sealed, SK):
        header = build_sk_header(message, sealed.first, len(sealed.body))
    else:
        if sealed.fragment_number > 1:
            sealed.first = 0
        position = sealed.fragment_number, sealed.total
        header = build_skf_header(message, sealed.first, *position, len(sealed.body))
    message.payloads.append(sealed)
    datagram = header + sealed.body
    assert datagram == build(message)
    opened = parse(datagram).payloads[-1]
    assert isinstance(opened, (SK, SKF))
    assert datagram[: opened.offset] == header
    assert datagram[opened.offset :] == opened.body


@given(st.binary(max_size=400))
def test_any_octets_behind_a_true_header_parse_or_are_dropped(body: bytes) -> None:
    for first in (*range(33, 55), 0, 1, 255):
        length = HEADER_OCTETS + len(body)
        parses_exactly(bytes(16) + bytes((first, 0x20, 34, 8)) + bytes(4) + length.to_bytes(4) + body)
        try:
            payloads = parse_payloads(first, body)
        except Drop:
            continue
        assert build_payloads(payloads) == (first, body)


@given(st.binary(max_size=200))
def test_any_octets_at_all_parse_or_are_dropped(octets: bytes) -> None:
    parses_exactly(octets)


edits = st.tuples(st.sampled_from(["set", "insert", "delete", "cut"]), st.integers(0, 1 << 16), st.integers(0, 255))


@given(messages, st.lists(edits, min_size=1, max_size=4), st.booleans())
def test_a_damaged_message_parses_or_is_dropped(
    message: Message, damage: list[tuple[str, int, int]], honest: bool
) -> None:
    octets = bytearray(build(message))
    for what, where, value in damage:
        at = where % (len(octets) or 1)
        if what == "set" and octets:
            octets[at] = value
        elif what == "insert":
            octets.insert(at, value)
        elif what == "delete":
            del octets[at : at + 1]
        elif what == "cut":
            del octets[at:]
    if honest and len(octets) >= HEADER_OCTETS:
        octets[24:28] = len(octets).to_bytes(4)
    parses_exactly(bytes(octets))
