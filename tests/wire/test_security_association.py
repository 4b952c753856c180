"""SA payloads: proposals, transforms and their attributes (RFC 7296 3.3)."""

import pytest

from gateway.wire import payloads as wire
from gateway.wire.numbers import Encr, KeMethod, PayloadType, Protocol, TransformType
from tests.wire.bodies import alone, octets, refused

GCM_256 = "0300000c 01000014 800e0100"
PRF = "03000008 02000005"
GROUP = "00000008 0400001f"
# RFC 7296 3.3's own example: ESP with AES-CBC of three lengths, two integrity algorithms, with and without ESN;
# or AES-GCM with an 8-octet ICV.
RFC_EXAMPLE = octets(
    "02000050 01030407 052357bb"
    "0300000c 0100000c 800e0080  0300000c 0100000c 800e00c0  0300000c 0100000c 800e0100"
    "03000008 03000002  03000008 03000005  03000008 05000001  00000008 05000000"
    "00000034 02030404 35a1d6f2"
    "0300000c 01000012 800e0080  0300000c 01000012 800e0100  03000008 05000001  00000008 05000000"
)


class TestSecurityAssociation:
    def test_the_example_of_the_rfc(self) -> None:
        payload = alone(PayloadType.SA, RFC_EXAMPLE)
        assert isinstance(payload, wire.SA)
        first, second = payload.proposals
        assert (first.number, first.protocol, first.spi) == (1, Protocol.ESP, octets("052357bb"))
        assert [(t.type, t.number, t.key_bits) for t in first.transforms] == [
            (1, 12, 128), (1, 12, 192), (1, 12, 256), (3, 2, None), (3, 5, None), (5, 1, None), (5, 0, None),
        ]  # fmt: skip
        assert (second.number, second.spi) == (2, octets("35a1d6f2"))
        assert second.transforms[1] == wire.Transform(TransformType.ENCR, Encr.ENCR_AES_GCM_8, 256)
        assert wire.SA([first, second]).octets() == RFC_EXAMPLE

    def test_built_from_values(self) -> None:
        transforms = [
            wire.Transform(TransformType.ENCR, Encr.ENCR_AES_GCM_16, 256),
            wire.Transform(TransformType.PRF, 5),
            wire.Transform(TransformType.KE, KeMethod.CURVE25519),
        ]
        built = wire.SA([wire.Proposal(1, Protocol.IKE, b"", transforms)]).octets()
        assert built == octets(f"00000024 01010003 {GCM_256} {PRF} {GROUP}")

    def test_other_attributes_keep_their_place_and_format(self) -> None:
        body = octets("00000024 01010001 0000001c 01000014 8012abcd 800e0100 00120004 01020304 00630000")
        payload = alone(PayloadType.SA, body)
        assert isinstance(payload, wire.SA)
        (transform,) = payload.proposals[0].transforms
        assert transform.key_bits == 256
        assert transform.attributes == (
            wire.TransformAttribute(18, 0xABCD),
            wire.TransformAttribute(18, octets("01020304")),
            wire.TransformAttribute(99, b""),
        )

    def test_a_key_length_in_the_long_format_is_no_key_length(self) -> None:
        payload = alone(PayloadType.SA, octets("00000016 01010001 0000000e 0100000c 000e0002 0080"))
        assert isinstance(payload, wire.SA)
        (transform,) = payload.proposals[0].transforms
        assert transform.key_bits is None
        assert transform.attributes == (wire.TransformAttribute(14, octets("0080")),)

    def test_unknown_numbers_and_reserved_bits_survive(self) -> None:
        payload = alone(PayloadType.SA, octets("00ff0013 09c80301 aabbcc 007f0008 eefffffe"))
        assert isinstance(payload, wire.SA)
        (proposal,) = payload.proposals
        assert (proposal.protocol, proposal.spi) == (200, octets("aabbcc"))
        assert proposal.transforms == [wire.Transform(0xEE, 0xFFFE)]

    def test_what_was_parsed_before_may_be_changed_without_changing_the_next(self) -> None:
        for _ in range(2):
            payload = alone(PayloadType.SA, RFC_EXAMPLE)
            assert isinstance(payload, wire.SA)
            assert len(payload.proposals[0].transforms) == 7
            payload.proposals[0].transforms.clear()
            payload.proposals[0].spi = b""
            payload.proposals.pop()

    @pytest.mark.parametrize(
        "body",
        [
            "",  # no proposal
            "00000008 010100",  # cut
            "00000008 01010000",  # no transform
            "00000010 01010001 00000008 040000",  # longer than the payload
            "00000007 01010001",  # shorter than itself
            "00000010 01010002 00000008 0400001f",  # fewer transforms than it says
            "00000018 01010001 03000008 02000005 00000008 0400001f",  # more
            "00000010 01010001 03000008 0400001f",  # the last transform says another follows
            "00000018 01010002 00000008 02000005 00000008 0400001f",  # the first says none follows
            "00000010 01010001 00000007 0400001f",  # a transform shorter than its header
            "00000010 01010001 00000009 0400001f",  # a transform longer than its proposal
            "02000010 01010001 00000008 0400001f",  # the last proposal says another follows
            "00000010 01010001 00000008 0400001f 00000010 02010001 00000008 0400001f",  # the first says none follows
            "00000014 01030001 00000008 0400001f 00000000",  # ESP without an SPI
            "00000014 01010401 01020304 00000008 0400001f",  # IKE with an SPI of four octets
            "00000010 010109ff 00000008 0400001f",  # an SPI that is longer than the proposal
            "00000012 01010001 0000000a 0100000c 800e",  # half an attribute
            "00000014 01010001 0000000c 0100000c 00120001",  # an attribute longer than its transform
            "00000018 01010001 00000010 0100000c 800e0080 800e0100",  # two key lengths
        ],
    )
    def test_malformed(self, body: str) -> None:
        assert refused(PayloadType.SA, octets(body))

    def test_number_of_proposals(self) -> None:
        one = wire.Proposal(1, Protocol.IKE, b"", [wire.Transform(4, 31)])
        assert alone(PayloadType.SA, wire.SA([one] * wire.MAX_PROPOSALS).octets())
        assert "proposals" in refused(PayloadType.SA, wire.SA([one] * (wire.MAX_PROPOSALS + 1)).octets())

    def test_number_of_transforms(self) -> None:
        full = wire.Proposal(1, Protocol.IKE, b"", [wire.Transform(4, 31)] * wire.MAX_TRANSFORMS)
        rest = wire.Proposal(1, Protocol.IKE, b"", [wire.Transform(4, 31)] * 4)
        assert alone(PayloadType.SA, wire.SA([full] * 4 + [rest]).octets())
        rest.transforms.append(wire.Transform(4, 31))
        assert "1024 transforms" in refused(PayloadType.SA, wire.SA([full] * 4 + [rest]).octets())
        assert "1024 transforms" in refused(PayloadType.SA, wire.SA([full] * 5).octets())

    def test_number_of_attributes(self) -> None:
        most = wire.Transform(1, 20, None, (wire.TransformAttribute(18, 0),) * wire.MAX_TRANSFORM_ATTRIBUTES)
        body = wire.SA([wire.Proposal(1, Protocol.IKE, b"", [most])]).octets()
        assert alone(PayloadType.SA, body)
        keyed = wire.Transform(1, 20, 128, most.attributes, key_position=16)
        assert alone(PayloadType.SA, wire.SA([wire.Proposal(1, Protocol.IKE, b"", [keyed])]).octets())
        more = octets("00000054 01010001 0000004c") + body[12:] + octets("80120000")
        assert "attributes" in refused(PayloadType.SA, more)
        most.attributes += most.attributes
        with pytest.raises(ValueError, match="attributes"):
            most.octets(more=False)

    @pytest.mark.parametrize("count", [0, 256])
    def test_a_number_of_transforms_that_cannot_be_written(self, count: int) -> None:
        with pytest.raises(ValueError, match="transforms"):
            wire.SA([wire.Proposal(1, 1, b"", [wire.Transform(4, 31)] * count)]).octets()
        with pytest.raises(ValueError, match="at least one"):
            wire.SA([]).octets()
