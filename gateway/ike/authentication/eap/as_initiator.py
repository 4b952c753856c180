"""A round of IKE_AUTH in which we prove ourselves by EAP, and the responder is its server (RFC 7296 2.16, RFC 5998)."""

from collections.abc import Callable
from dataclasses import replace

from gateway.ike.attempts import Step
from gateway.ike.authentication.claims import note_proof
from gateway.ike.authentication.eap import certificates, peer, proof
from gateway.ike.authentication.eap.gate import Account, Proven
from gateway.ike.authentication.eap.methods import chosen
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, method_name
from gateway.ike.core import Core
from gateway.ike.flow import ask_peer
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import LocalAuth
from gateway.policy.identities import Identity
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Reject

ONLY = wire.Notify(0, b"", NotifyType.EAP_ONLY_AUTHENTICATION, b"")
"""We take a responder that proves itself by EAP alone (RFC 5998 3)."""


async def prove(
    core: Core,
    sa: IkeSa,
    auth: LocalAuth,
    server: Identity,
    response: Message,
    accepted: Callable[[Message], None],
    *,
    alone: bool,
) -> Proven:
    """Speak EAP from the first request in `response` to Success; `accepted` raises Close for an error of the peer's.

    `server` is the responder: where EAP shows a certificate, it must be for it, or for whom our round names instead. A
    responder that proves itself by nothing else must be the server itself.

    <-- HDR, SK {IDr, AUTH, EAP(Request)}
    --> HDR, SK {EAP(Response)}                and so on
    <-- HDR, SK {EAP(Success)}
    """

    async def carry(packet: wire.EAP) -> wire.EAP:
        answer = await ask_peer(ExchangeType.IKE_AUTH, [packet])
        accepted(answer)
        return _packet(answer)

    talk = PeerTalk(carry)
    try:
        account = _account(core, sa, auth, server, alone=alone)
        if sa.attempt:
            sa.attempt.eap_identity = account.identity.decode("utf-8", "replace")
        proven = await peer.prove(talk, account, _packet(response))
    except Failed as failed:
        notes = f"; it had said: {' / '.join(talk.notes)}" if talk.notes else ""
        notify = None if failed.told else NotifyType.AUTHENTICATION_FAILED
        raise core.give_up(sa, failed.cause, Step.IDENTITY, notify, f"EAP failed: {failed.why}{notes}") from None
    note_proof(core, sa, f"we proved ourselves by {method_name(proven.kind)}")
    return proven


def _packet(message: Message) -> wire.EAP:
    try:
        return message.one(wire.EAP)
    except Reject as reject:
        raise Failed("eap-protocol", f"the responder does not speak EAP with us: {reject.why}") from None


def check(core: Core, sa: IkeSa, proven: Proven, sent: wire.Identification, response: Message) -> None:
    """The last answer must be made with EAP's key, or somebody stands between (RFC 7296 2.16). Raises Close."""
    auth = response.maybe(wire.AUTH)
    if auth is None or not proof.verify(sa, proven.msk, sent, auth):
        why = "EAP came to its end, but the responder's last AUTH payload is not made with the key that came of it"
        raise core.give_up(sa, "eap-key", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, why)


def _account(core: Core, sa: IkeSa, auth: LocalAuth, server: Identity, *, alone: bool) -> Account:
    """Who we are to EAP, and the methods that we have the means for."""
    assert sa.local_id is not None
    identity = (auth.eap_identity or sa.local_id.text).encode()
    account = Account(identity, auth.eap_password, (), core.random)
    expected = server if alone or auth.eap_server is None else auth.eap_server
    account = certificates.arm_client(core, sa, account, auth, expected)
    fit = [method for method in chosen(auth.eap_methods) if method.alone or not alone]
    able = [method.number for method in fit if (account.password if method.password else account.tls)]
    if not able:
        raise Failed("eap-method", "neither a password nor a certificate of ours is fit for EAP here")
    return replace(account, methods=tuple(able))
