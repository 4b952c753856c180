"""Hypothesis strategies for every payload and for whole messages, reserved bits and unknown values included."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import PayloadType

OCTET = st.integers(0, 0xFF)
SHORT = st.integers(0, 0xFFFF)
FIFTEEN_BITS = st.integers(0, 0x7FFF)
DATA = st.binary(max_size=80)
SOME_DATA = st.binary(min_size=1, max_size=80)
THREE_OCTETS = st.just(bytes(3)) | st.binary(min_size=3, max_size=3)
KNOWN = {int(kind) for kind in PayloadType} - {
    PayloadType.GSPM,
    PayloadType.IDg,
    PayloadType.GSA,
    PayloadType.KD,
}
FRAME = {"critical": st.booleans(), "header_reserved": st.just(0) | st.integers(0, 0x7F)}

attributes = st.builds(wire.TransformAttribute, FIFTEEN_BITS.filter(lambda kind: kind != 14), SHORT | DATA)


@st.composite
def transforms(draw: st.DrawFn) -> wire.Transform:
    others = tuple(draw(st.just([]) | st.lists(attributes, max_size=3)))
    key_bits = draw(st.none() | SHORT)
    position = draw(st.integers(0, len(others))) if key_bits is not None else 0
    return wire.Transform(draw(OCTET), draw(SHORT), key_bits, others, position, draw(st.just(0) | SHORT))


@st.composite
def proposals(draw: st.DrawFn) -> wire.Proposal:
    protocol, size = draw(st.sampled_from([(1, 0), (1, 8), (2, 4), (3, 4)]) | st.tuples(st.integers(4, 255), OCTET))
    spi = draw(st.binary(min_size=size, max_size=size))
    chosen = draw(st.lists(transforms(), min_size=1, max_size=8))
    return wire.Proposal(draw(OCTET), protocol, spi, chosen, draw(st.just(0) | OCTET))


def _ranges(ts_type: int, octets: int) -> SearchStrategy[wire.TrafficSelector]:
    address = st.binary(min_size=octets, max_size=octets)
    return st.builds(wire.TrafficSelector, st.just(ts_type), OCTET, SHORT, SHORT, address, address)


opaque_selectors = st.builds(
    wire.TrafficSelector,
    OCTET.filter(lambda kind: kind not in (7, 8)),
    OCTET,
    st.just(0),
    st.just(0),
    st.just(b""),
    st.just(b""),
    DATA,
)
selectors = st.lists(_ranges(7, 4) | _ranges(8, 16) | opaque_selectors, min_size=1, max_size=6)
deletes = OCTET.flatmap(
    lambda size: st.builds(
        wire.Delete,
        OCTET,
        st.lists(st.binary(min_size=size, max_size=size), max_size=5 if size else 0),
        spi_size=st.just(size),
        **FRAME,
    )
)
cp_attributes = st.lists(st.builds(wire.Attribute, FIFTEEN_BITS, DATA, st.booleans()), max_size=6)

plain_payloads: SearchStrategy[wire.Payload] = st.one_of(
    st.builds(wire.SA, st.lists(proposals(), min_size=1, max_size=4), **FRAME),
    st.builds(wire.KE, SHORT, DATA, reserved=SHORT, **FRAME),
    st.builds(wire.IDi, OCTET, DATA, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.IDr, OCTET, DATA, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.CERT, OCTET, DATA, **FRAME),
    st.builds(wire.CERTREQ, OCTET, DATA, **FRAME),
    st.builds(wire.AUTH, OCTET, DATA, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.Nonce, SOME_DATA, **FRAME),
    st.builds(wire.Notify, OCTET, st.binary(max_size=255), SHORT, DATA, **FRAME),
    deletes,
    st.builds(wire.VendorId, DATA, **FRAME),
    st.builds(wire.TSi, selectors, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.TSr, selectors, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.CP, OCTET, cp_attributes, reserved=THREE_OCTETS, **FRAME),
    st.builds(wire.EAP, OCTET, OCTET, DATA, **FRAME),
    st.builds(wire.PuzzleSolution, DATA, **FRAME),
    st.builds(wire.Unknown, OCTET.filter(lambda kind: kind not in KNOWN), DATA, **FRAME),
)
fragments = st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)).map(sorted)
sealed_payloads: SearchStrategy[wire.Payload] = st.builds(wire.SK, OCTET, DATA, **FRAME) | fragments.flatmap(
    lambda pair: st.builds(wire.SKF, OCTET, st.just(pair[0]), st.just(pair[1]), DATA, **FRAME)
)
chains = st.lists(plain_payloads, max_size=8)
messages = st.builds(
    Message,
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8),
    OCTET,
    st.booleans(),
    st.booleans(),
    st.integers(0, 0xFFFFFFFF),
    st.builds(lambda plain, sealed: plain + sealed, chains, st.lists(sealed_payloads, max_size=1)),
    st.integers(0x20, 0x2F),
    OCTET.map(lambda bits: bits & 0xD7),
)
