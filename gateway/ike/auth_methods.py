"""Which ways of authentication an end accepts, as it announces them (RFC 9593)."""

from collections.abc import Sequence

from gateway.crypto.signatures import METHODS
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import WORDS, Method
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.message import parse, told_in
from gateway.wire.numbers import AuthMethod, NotifyType, name_of

_PSK = (AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE,)
SEVERAL = wire.Notify(0, b"", NotifyType.MULTIPLE_AUTH_SUPPORTED, b"")
"""An end may prove itself in several rounds (RFC 4739 2.1)."""
_MOST = 32


def announcement() -> wire.Notify:
    """N(SUPPORTED_AUTH_METHODS): an announcement of two octets for each method that needs no certificate (3.2.1)."""
    return wire.Notify(0, b"", NotifyType.SUPPORTED_AUTH_METHODS, b"".join(bytes((2, method)) for method in _PSK))


def announced_by(peers: Sequence[Peer]) -> list[wire.Payload]:
    """The announcement, where a pre-shared key is all that any of these peers may prove itself by.

    For signatures it would name each scheme, which SIGNATURE_HASH_ALGORITHMS and CERTREQ tell in fewer octets.
    """
    only = all(wanted.method == Method.PSK for peer in peers for wanted in peer.remote_auth)
    return [announcement()] if only else []


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
    return NotifyType.SUPPORTED_AUTH_METHODS in told_in(sa.init_response)


def takes_several(sa: IkeSa) -> bool:
    """Whether the responder lets us prove ourselves in several rounds (RFC 4739 2.2)."""
    return NotifyType.MULTIPLE_AUTH_SUPPORTED in told_in(sa.init_response)


def unwelcome(sa: IkeSa) -> str:
    """Why the responder cannot accept our way of authentication, if it said so; asked while its answer is kept."""
    methods = read(parse(sa.init_response).notify(NotifyType.SUPPORTED_AUTH_METHODS))
    way = sa.peer.local_auth[0].method if sa.peer else Method.PSK
    ours = {Method.PSK: _PSK, Method.CERTIFICATE: METHODS, Method.PUBLIC_KEY: METHODS}.get(way)
    if not methods or ours is None or any(method in ours for method in methods):
        return ""
    names = ", ".join(dict.fromkeys(name_of(AuthMethod, method) for method in methods))
    return f"the peer accepts only {names}, and we prove ourselves by {WORDS[way]}"
