"""Which ways of authentication an end accepts, as it announces them (RFC 9593)."""

from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import parse
from gateway.wire.numbers import AuthMethod, NotifyType, name_of

OURS = (AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE,)
SEVERAL = wire.Notify(0, b"", NotifyType.MULTIPLE_AUTH_SUPPORTED, b"")
"""An end may prove itself in several rounds (RFC 4739 2.1)."""
_MOST = 32


def announcement() -> wire.Notify:
    """N(SUPPORTED_AUTH_METHODS): an announcement of two octets for each method that needs no certificate (3.2.1)."""
    return wire.Notify(0, b"", NotifyType.SUPPORTED_AUTH_METHODS, b"".join(bytes((2, method)) for method in OURS))


def read(notify: wire.Notify | None) -> list[int]:
    """The methods announced, in order; announcements that make no sense end the list."""
    data = notify.data if notify else b""
    methods: list[int] = []
    while len(data) >= 2 and 2 <= data[0] <= len(data) and len(methods) < _MOST:
        methods.append(data[1])
        data = data[data[0] :]
    return methods


def announced(sa: IkeSa) -> bool:
    """Whether the responder announced its methods in IKE_SA_INIT, so that we may do so in IKE_AUTH (3.1)."""
    return parse(sa.init_response).notify(NotifyType.SUPPORTED_AUTH_METHODS) is not None


def takes_several(sa: IkeSa) -> bool:
    """Whether the responder lets us prove ourselves in several rounds (RFC 4739 2.2)."""
    return parse(sa.init_response).notify(NotifyType.MULTIPLE_AUTH_SUPPORTED) is not None


def unwelcome(sa: IkeSa) -> str:
    """Why the responder cannot accept our way of authentication, if it said so; asked while its answer is kept."""
    methods = read(parse(sa.init_response).notify(NotifyType.SUPPORTED_AUTH_METHODS))
    if not methods or any(method in OURS for method in methods):
        return ""
    names = ", ".join(dict.fromkeys(name_of(AuthMethod, method) for method in methods))
    return f"the peer accepts only {names}, and we prove ourselves by a pre-shared key"
