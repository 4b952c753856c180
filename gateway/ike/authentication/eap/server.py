"""EAP's server: who are you, then one method after the other until the peer takes one (RFC 3748 2, 5.3)."""

from collections.abc import Sequence

from gateway.ike.authentication.eap.gate import Gate, Proven, read_name
from gateway.ike.authentication.eap.methods import Method
from gateway.ike.authentication.eap.talk import Failed, Refused, ServerTalk, method_name
from gateway.wire.numbers import EapType


async def ask_identity(talk: ServerTalk) -> str:
    """What the peer says it is called; nothing is proven by it.

    <-- Request/Identity
    --> Response/Identity(name)
    """
    return read_name(await talk.ask(EapType.IDENTITY, b""))


async def admit(talk: ServerTalk, gate: Gate, claimed: str, methods: Sequence[Method]) -> Proven:
    """Who the peer has proven to be, by one of these methods; the first is proposed first. Raises Failed."""
    left = [method for method in methods if method.password or gate.tls]
    if not left:
        why = "we have no certificate in our rounds for this peer, or trust no authority to know its own"
        raise Failed("eap-method", f"there is nothing for EAP-TLS: {why}")
    names = ", ".join(method_name(one.number) for one in left)
    wanted: tuple[int, ...] = ()
    while left:
        method = left.pop(0)
        talk.fresh = True
        try:
            return await method.serve(talk, gate, claimed)
        except Refused as refused:
            wanted = refused.wanted
            left = [one for one in left if one.number in wanted]
    liked = ", ".join(map(method_name, wanted)) or "none"
    raise Failed("eap-method", f"the peer takes none of our EAP methods ({names}); it would take {liked}")
