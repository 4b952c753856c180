"""Authentication by a pre-shared key (RFC 7296 2.15)."""

import hmac
from typing import NoReturn

from gateway.crypto.keys import psk_auth
from gateway.ike.attempts import Step
from gateway.ike.authentication.signed import octets_of, our_body
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.identities import Identity
from gateway.wire import payloads as wire
from gateway.wire.numbers import AuthMethod, NotifyType, name_of

METHOD = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE
_FAILED = NotifyType.AUTHENTICATION_FAILED


def prove(core: Core, sa: IkeSa, remote: Identity | None) -> list[wire.Payload]:
    """Our AUTH payload, by the key that we have in common with `remote`; None where only its answer will tell it."""
    key = _key(core, sa, remote) if remote else _key_for_unknown(core, sa)
    return [wire.AUTH(METHOD, _auth_data(sa, key, our_body(sa), ours=True))]


def check(core: Core, sa: IkeSa, sent: wire.Identification, auth: wire.AUTH) -> str:
    """How the peer proved that it holds the key, over its ID payload just as sent. Raises Close."""
    identity = Identity(sent.id_type, sent.data)
    key = _key(core, sa, identity)
    if auth.method != METHOD:
        why = f"{identity} authenticates by {name_of(AuthMethod, auth.method)}, we expect a pre-shared key"
        raise core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
    if not hmac.compare_digest(auth.data, _auth_data(sa, key, sent.octets(), ours=False)):
        if sa.initiator:
            why = f"{identity} did not prove itself with our pre-shared key"
            raise core.give_up(sa, "peer-not-proven", Step.IDENTITY, _FAILED, why)
        why = f"{identity} holds another pre-shared key than we do"
        raise core.give_up(sa, "wrong-key", Step.IDENTITY, _FAILED, why)
    return "by its pre-shared key"


def _auth_data(sa: IkeSa, psk: bytes, body: bytes, *, ours: bool) -> bytes:
    assert sa.chosen is not None and sa.chosen.prf is not None
    return psk_auth(sa.chosen.prf, psk, octets_of(sa, body, ours=ours))


def _key(core: Core, sa: IkeSa, remote: Identity) -> bytes:
    assert sa.local_id is not None
    found = core.snapshot.psk_for(sa.local_id, remote)
    return found.secret if found else _none(core, sa, f"{sa.local_id} and {remote}")


def _key_for_unknown(core: Core, sa: IkeSa) -> bytes:
    assert sa.local_id is not None and sa.peer is not None
    wanted = sa.peer.remote_id
    found = core.snapshot.psk_for_unknown(sa.local_id, wanted, Identity.parse(sa.path.remote))
    return found.secret if found else _none(core, sa, f"{sa.local_id} and {wanted}, nor for {sa.path.remote}")


def _none(core: Core, sa: IkeSa, whose: str) -> NoReturn:
    raise core.give_up(sa, "no-key", Step.IDENTITY, _FAILED, f"there is no pre-shared key for {whose}")
