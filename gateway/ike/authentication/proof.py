"""One round of proof, ours or the peer's, by whichever method the configuration asks for."""

from collections.abc import Sequence

from gateway.crypto.signatures import METHODS
from gateway.ike.attempts import Step
from gateway.ike.authentication import psk, signature
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import WORDS, LocalAuth, Method, RemoteAuth
from gateway.policy.identities import Identity
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import AuthMethod, NotifyType, name_of
from gateway.wire.outcome import Close

_FAILED = NotifyType.AUTHENTICATION_FAILED


def prove(core: Core, sa: IkeSa, auth: LocalAuth, remote: Identity | None) -> list[wire.Payload]:
    """Our proof for this round, of our identity to `remote`. Raises Close where we have nothing to prove it with."""
    match auth.method:
        case Method.PSK:
            return psk.prove(core, sa, remote)
        case Method.CERTIFICATE | Method.PUBLIC_KEY:
            return signature.prove_ourselves(core, sa, auth)
        case _:
            raise _no_way(core, sa, f"we are to prove ourselves by {WORDS[auth.method]}, which is not known here")


async def check(core: Core, sa: IkeSa, wanted: RemoteAuth, sent: wire.Identification, message: Message) -> str:
    """How the peer proved this round, in words, over its ID payload just as sent. Raises Close."""
    identity = Identity(sent.id_type, sent.data)
    auth = message.maybe(wire.AUTH)
    if auth is None:
        raise _no_way(core, sa, f"{identity} wants EAP, we expect {WORDS[wanted.method]}")
    match wanted.method:
        case Method.PSK:
            return psk.check(core, sa, sent, auth)
        case Method.CERTIFICATE | Method.PUBLIC_KEY if auth.method in METHODS:
            return await signature.check_peer(core, sa, wanted, sent, message, auth)
        case _:
            how = name_of(AuthMethod, auth.method)
            raise _no_way(core, sa, f"{identity} authenticates by {how}, we expect {WORDS[wanted.method]}")


def fits(wanted: Sequence[RemoteAuth], auth: wire.AUTH | None) -> str:
    """Why an initiator whose first IKE_AUTH request has this AUTH payload is not what is expected; empty if it is."""
    first = wanted[0].method
    if auth is None:
        return "" if first == Method.EAP else f"it wants EAP, and is to prove itself by {WORDS[first]}"
    if auth.method in {Method.PSK: (psk.METHOD,), Method.EAP: ()}.get(first, METHODS):
        return ""
    return f"it authenticates by {name_of(AuthMethod, auth.method)}, and is to prove itself by {WORDS[first]}"


def _no_way(core: Core, sa: IkeSa, why: str) -> Close:
    return core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
