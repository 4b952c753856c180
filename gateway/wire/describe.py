"""Messages for people: a JSON-safe structure of names, sizes and readable values."""

import ipaddress
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import (
    AttributeType,
    AuthMethod,
    CertEncoding,
    CfgAttribute,
    CfgType,
    EapCode,
    EapType,
    Encr,
    ExchangeType,
    HashAlgorithm,
    IdType,
    Integ,
    KeMethod,
    NotifyType,
    PayloadType,
    Prf,
    Protocol,
    SequenceNumbers,
    TransformType,
    TsType,
    is_error,
    name_of,
)
from gateway.wire.payloads import Payload

SHOWN_OCTETS = 256

Described = dict[str, Any]

_TRANSFORM_NUMBERS: dict[int, type[IntEnum]] = {
    TransformType.ENCR: Encr,
    TransformType.PRF: Prf,
    TransformType.INTEG: Integ,
    TransformType.KE: KeMethod,
    TransformType.SN: SequenceNumbers,
    **dict.fromkeys(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1), KeMethod),
}
_SECRET_NOTIFIES = {
    NotifyType.NO_PPK_AUTH,
    NotifyType.PPK_IDENTITY_KEY,
    NotifyType.TICKET_LT_OPAQUE,
    NotifyType.TICKET_OPAQUE,
}
_TEXT_ATTRIBUTES = {CfgAttribute.APPLICATION_VERSION, CfgAttribute.INTERNAL_DNS_DOMAIN}
_ADDRESS_ATTRIBUTES = {
    CfgAttribute.INTERNAL_IP4_ADDRESS,
    CfgAttribute.INTERNAL_IP4_NETMASK,
    CfgAttribute.INTERNAL_IP4_DNS,
    CfgAttribute.INTERNAL_IP4_NBNS,
    CfgAttribute.INTERNAL_IP4_DHCP,
    CfgAttribute.INTERNAL_IP6_DNS,
    CfgAttribute.INTERNAL_IP6_DHCP,
    CfgAttribute.P_CSCF_IP4_ADDRESS,
    CfgAttribute.P_CSCF_IP6_ADDRESS,
}
_PREFIX_ATTRIBUTES = {CfgAttribute.INTERNAL_IP6_ADDRESS, CfgAttribute.INTERNAL_IP6_SUBNET}


def describe(message: Message, *, secrets: bool = False, octets: int = SHOWN_OCTETS) -> Described:
    """The message as dictionaries, lists, text and numbers.

    Without `secrets` what proves an identity (AUTH, EAP data, nonces, tickets) is told by its size alone. Of any other
    opaque data the first `octets` octets are shown, in hexadecimal, and of a text as many characters.
    """
    return {
        "spi_i": message.spi_i.hex(),
        "spi_r": message.spi_r.hex(),
        "version": f"{message.version >> 4}.{message.version & 15}",
        "exchange": name_of(ExchangeType, message.exchange),
        "initiator": message.initiator,
        "response": message.response,
        "message_id": message.message_id,
        "payloads": describe_payloads(message.payloads, secrets=secrets, octets=octets),
    }


def describe_payloads(
    payloads: Sequence[Payload], *, secrets: bool = False, octets: int = SHOWN_OCTETS
) -> list[Described]:
    """The payloads in their order, as `describe` shows them."""
    show = _Show(secrets, octets)
    return [show.payload(payload) for payload in payloads]


def printable(data: bytes) -> str:
    """Text from a peer: what is not printable UTF-8 is escaped, so that a terminal or a log line stays whole."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in data.decode("utf-8", "backslashreplace"))


def identity(id_type: int, data: bytes) -> str:
    """An identity as text, a distinguished name or other structure in hexadecimal."""
    if id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        return _address(data)
    if id_type in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
        return printable(data)
    if id_type == IdType.ID_KEY_ID and data and all(0x20 <= octet < 0x7F for octet in data):
        return data.decode("ascii")
    return data.hex()


def _address(data: bytes) -> str:
    return str(ipaddress.ip_address(data)) if len(data) in (4, 16) else data.hex()


def _range(start: bytes, end: bytes) -> str:
    first, last = _address(start), _address(end)
    return first if start == end else f"{first}-{last}"


class _Show:
    """How one message is shown."""

    def __init__(self, secrets: bool, octets: int) -> None:
        self._secrets = secrets
        self._octets = octets

    def payload(self, payload: Payload) -> Described:
        described: Described = {"payload": _payload_name(payload)}
        if payload.critical:
            described["critical"] = True
        show = _SHOWS.get(type(payload))
        described.update(show(self, payload) if show else self.opaque(payload.octets()))
        return described

    def opaque(self, data: bytes) -> Described:
        shown: Described = {"octets": len(data)}
        if data:
            shown["data"] = data[: self._octets].hex() + ("…" if len(data) > self._octets else "")
        return shown

    def text(self, text: str) -> str:
        return text if len(text) <= self._octets else text[: self._octets] + "…"

    def secret(self, data: bytes) -> Described:
        return self.opaque(data) if self._secrets else {"octets": len(data)}

    def sa(self, payload: wire.SA) -> Described:
        return {"proposals": [self._proposal(proposal) for proposal in payload.proposals]}

    def _proposal(self, proposal: wire.Proposal) -> Described:
        return {
            "number": proposal.number,
            "protocol": name_of(Protocol, proposal.protocol),
            "spi": proposal.spi.hex(),
            "transforms": [self._transform(transform) for transform in proposal.transforms],
        }

    def _transform(self, transform: wire.Transform) -> Described:
        numbers = _TRANSFORM_NUMBERS.get(transform.type)
        described: Described = {
            "type": name_of(TransformType, transform.type),
            "name": name_of(numbers, transform.number) if numbers else str(transform.number),
        }
        if transform.key_bits is not None:
            described["key_bits"] = transform.key_bits
        if transform.attributes:
            described["attributes"] = [
                {
                    "type": name_of(AttributeType, attribute.type),
                    **(
                        self.opaque(attribute.value)
                        if isinstance(attribute.value, bytes)
                        else {"value": attribute.value}
                    ),
                }
                for attribute in transform.attributes
            ]
        return described

    def ke(self, payload: wire.KE) -> Described:
        return {"method": name_of(KeMethod, payload.method), **self.opaque(payload.data)}

    def identification(self, payload: wire.Identification) -> Described:
        return {
            "type": name_of(IdType, payload.id_type),
            "identity": self.text(identity(payload.id_type, payload.data)),
        }

    def cert(self, payload: wire.CERT) -> Described:
        return {"encoding": name_of(CertEncoding, payload.encoding), **self.opaque(payload.data)}

    def certreq(self, payload: wire.CERTREQ) -> Described:
        described: Described = {"encoding": name_of(CertEncoding, payload.encoding)}
        if authorities := payload.authorities:
            return described | {"authorities": [authority.hex() for authority in authorities]}
        return described | self.opaque(payload.data)

    def auth(self, payload: wire.AUTH) -> Described:
        return {"method": name_of(AuthMethod, payload.method), **self.secret(payload.data)}

    def nonce(self, payload: wire.Nonce) -> Described:
        return self.secret(payload.data)

    def notify(self, payload: wire.Notify) -> Described:
        described: Described = {"type": name_of(NotifyType, payload.type), "error": is_error(payload.type)}
        if payload.protocol:
            described["protocol"] = name_of(Protocol, payload.protocol)
        if payload.spi:
            described["spi"] = payload.spi.hex()
        described |= self.secret(payload.data) if payload.type in _SECRET_NOTIFIES else self.opaque(payload.data)
        if meaning := _notify_meaning(payload):
            described["meaning"] = meaning
        return described

    def delete(self, payload: wire.Delete) -> Described:
        return {"protocol": name_of(Protocol, payload.protocol), "spis": [spi.hex() for spi in payload.spis]}

    def vendor_id(self, payload: wire.VendorId) -> Described:
        return {"text": self.text(printable(payload.data)), **self.opaque(payload.data)}

    def selectors(self, payload: wire.TrafficSelectors) -> Described:
        return {"selectors": [self._selector(selector) for selector in payload.selectors]}

    def _selector(self, selector: wire.TrafficSelector) -> Described:
        kind = name_of(TsType, selector.ts_type)
        if not selector.start:
            return {"type": kind, **self.opaque(selector.opaque)}
        return {
            "type": kind,
            "addresses": _range(selector.start, selector.end),
            "protocol": selector.protocol,
            "ports": [selector.start_port, selector.end_port],
        }

    def cp(self, payload: wire.CP) -> Described:
        return {
            "type": name_of(CfgType, payload.cfg_type),
            "attributes": [self._attribute(attribute) for attribute in payload.attributes],
        }

    def _attribute(self, attribute: wire.Attribute) -> Described:
        described: Described = {"type": name_of(CfgAttribute, attribute.type)}
        if not attribute.value:
            return described
        return described | (self._meaning(attribute) or self.opaque(attribute.value))

    def _meaning(self, attribute: wire.Attribute) -> Described:
        kind, value = attribute.type, attribute.value
        if kind in _ADDRESS_ATTRIBUTES and len(value) in (4, 16):
            return {"value": _address(value)}
        if kind in _PREFIX_ATTRIBUTES and len(value) == 17:
            return {"value": f"{_address(value[:16])}/{value[16]}"}
        if kind == CfgAttribute.INTERNAL_IP4_SUBNET and len(value) == 8:
            return {"value": f"{_address(value[:4])}/{_address(value[4:])}"}
        if kind in _TEXT_ATTRIBUTES:
            return {"value": self.text(printable(value))}
        return {}

    def eap(self, payload: wire.EAP) -> Described:
        described: Described = {"code": name_of(EapCode, payload.code), "identifier": payload.identifier}
        if payload.method is not None:
            described["method"] = name_of(EapType, payload.method)
            if payload.method == EapType.IDENTITY:
                described["identity"] = self.text(printable(payload.method_data))
        return described | self.secret(payload.data)

    def sk(self, payload: wire.SK) -> Described:
        return {"first": name_of(PayloadType, payload.first), "octets": len(payload.body)}

    def skf(self, payload: wire.SKF) -> Described:
        fragment = {"fragment": payload.fragment_number, "total": payload.total}
        return {"first": name_of(PayloadType, payload.first), **fragment, "octets": len(payload.body)}

    def unknown(self, payload: wire.Unknown) -> Described:
        return {"type": payload.type, **self.opaque(payload.body)}


_SHOWS: dict[type[Payload], Callable[[_Show, Any], Described]] = {
    wire.SA: _Show.sa,
    wire.KE: _Show.ke,
    wire.IDi: _Show.identification,
    wire.IDr: _Show.identification,
    wire.CERT: _Show.cert,
    wire.CERTREQ: _Show.certreq,
    wire.AUTH: _Show.auth,
    wire.Nonce: _Show.nonce,
    wire.Notify: _Show.notify,
    wire.Delete: _Show.delete,
    wire.VendorId: _Show.vendor_id,
    wire.TSi: _Show.selectors,
    wire.TSr: _Show.selectors,
    wire.CP: _Show.cp,
    wire.EAP: _Show.eap,
    wire.SK: _Show.sk,
    wire.SKF: _Show.skf,
    wire.Unknown: _Show.unknown,
}


def _payload_name(payload: Payload) -> str:
    if isinstance(payload, wire.Unknown):
        return name_of(PayloadType, payload.type)
    return type(payload).__name__


def _notify_meaning(notify: wire.Notify) -> str:
    """What is inside, for the types whose data people ask about."""
    data = notify.data
    if notify.type == NotifyType.INVALID_KE_PAYLOAD and len(data) == 2:
        return name_of(KeMethod, int.from_bytes(data))
    if notify.type == NotifyType.SIGNATURE_HASH_ALGORITHMS and len(data) % 2 == 0:
        numbers = [int.from_bytes(data[at : at + 2]) for at in range(0, min(len(data), 64), 2)]
        return ", ".join(name_of(HashAlgorithm, number) for number in numbers)
    if notify.type == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD and len(data) == 1:
        return name_of(PayloadType, data[0])
    if notify.type in (NotifyType.ADDITIONAL_IP4_ADDRESS, NotifyType.ADDITIONAL_IP6_ADDRESS) and len(data) in (4, 16):
        return _address(data)
    if notify.type in (NotifyType.AUTH_LIFETIME, NotifyType.SET_WINDOW_SIZE) and len(data) == 4:
        return str(int.from_bytes(data))
    return ""
