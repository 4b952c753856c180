"""The EAP methods that we speak, a row each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.ike.authentication.eap import md5, mschapv2, tls
from gateway.ike.authentication.eap.gate import Account, Gate, Proven
from gateway.ike.authentication.eap.talk import PeerTalk, ServerTalk
from gateway.wire.numbers import EapType
from gateway.wire.payloads import EAP


@dataclass(frozen=True, slots=True)
class Method:
    """One method: `serve` and `prove` are its two ends.

    `usual` tells that it is offered where nothing is said about methods. `alone` tells that a gateway may prove itself
    by it without a certificate or key of its own: both ends are proven, a key is made, and passwords cannot be guessed
    from it (RFC 5998 4). It needs a `password`, or else a certificate.
    """

    number: int
    keyword: str
    serve: Callable[[ServerTalk, Gate, str], Awaitable[Proven]]
    prove: Callable[[PeerTalk, Account, EAP], Awaitable[bytes]]
    usual: bool = True
    alone: bool = False
    password: bool = True


METHODS = (
    Method(EapType.EAP_TLS, "tls", tls.serve, tls.prove, alone=True, password=False),
    Method(EapType.EAP_MSCHAP_V2, "mschapv2", mschapv2.serve, mschapv2.prove),
    Method(EapType.MD5_CHALLENGE, "md5", md5.serve, md5.prove, usual=False),
)
_BY_NUMBER = {method.number: method for method in METHODS}


def chosen(keywords: tuple[str, ...]) -> list[Method]:
    """The rows of these names in their order; of no names, those that are usual."""
    if not keywords:
        return [method for method in METHODS if method.usual]
    return [method for keyword in keywords for method in METHODS if method.keyword == keyword]


def by_number(number: int | None) -> Method | None:
    return _BY_NUMBER.get(number) if number is not None else None
