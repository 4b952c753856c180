"""What a gateway that we call tells us of DNS, honest or not (RFC 7296 3.15, RFC 8598)."""

import pytest

from gateway.ike.core import Core
from gateway.ike.exchanges import configuration
from gateway.ike.sa import IkeSa
from gateway.policy.name_service import NameService
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import CfgAttribute
from tests.simulation.network import Network
from tests.simulation.test_virtual_addresses import addresses, device, gateway, sas

DOMAIN, DNS4, DNS6 = CfgAttribute.INTERNAL_DNS_DOMAIN, CfgAttribute.INTERNAL_IP4_DNS, CfgAttribute.INTERNAL_IP6_DNS


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ([(DOMAIN, b"corp.example")], NameService()),  # RFC 8598 3.2: nobody to ask
        ([(DNS4, b"\x7f\0\0\1"), (DNS4, bytes(4)), (DNS4, b"\xe0\0\0\1"), (DNS6, bytes(16))], NameService()),
        ([(DNS4, b""), (DNS4, b"\x0a\1\0"), (DNS6, b"\xfd" + bytes(14))], NameService()),
        ([(DNS4, b"\x0a\1\0\x35")] * 3, NameService(("10.1.0.53",))),
        (
            [
                (DOMAIN, b"Corp.Example."),
                (DOMAIN, b"<b>.example"),
                (DOMAIN, b"a\0"),
                (DOMAIN, b""),
                (DOMAIN, b"."),
                (DOMAIN, b"corp.example\n"),
                (DOMAIN, b"\xff.example"),
                (DOMAIN, b"a" * 300),
                (DNS4, b"\x0a\1\0\x35"),
            ],
            NameService(("10.1.0.53",), ("corp.example",)),
        ),
        (
            [
                *((DOMAIN, b"d%d.example" % n) for n in range(120)),
                *((DNS4, bytes((10, 1, 0, n))) for n in range(1, 121)),
            ],
            NameService(tuple(f"10.1.0.{n}" for n in range(1, 9)), tuple(f"d{n}.example" for n in range(64))),
        ),
    ],
)
def test_what_a_hostile_gateway_tells_of_dns(attributes: list[tuple[int, bytes]], told: NameService) -> None:
    network = Network(13)
    gate, one = gateway(network), device(network, 1)

    def lie(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
        (reply,) = honest(core, sa, request)
        assert isinstance(reply, wire.CP)
        addresses = [one for one in reply.attributes if one.type in (1, 8)]
        return [wire.CP(reply.cfg_type, addresses + [wire.Attribute(kind, value) for kind, value in attributes])]

    honest = configuration.answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "answer", lie)
        network.run(1)
    (sa,) = sas(one)
    assert sa.name_service == told
    assert addresses(one) and sas(gate)
