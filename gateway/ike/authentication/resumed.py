"""Authentication of a resumed session: whoever has the old session's keys is who began it (RFC 5723 4.3.3)."""

import hmac

from gateway.crypto.keys import signed_octets
from gateway.ike.sa import IkeSa
from gateway.policy.identities import Identity
from gateway.wire import payloads as wire
from gateway.wire.numbers import AuthMethod

METHOD = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE


def _auth_data(sa: IkeSa, body: bytes, *, of_initiator: bool, short: bool) -> bytes:
    """AUTH = prf(SK_px, <message octets>), the octets being those of RFC 7296 2.15.

    libreswan (5.2) takes the message alone for the octets (`short`). The keys hold both nonces and SPIs, and the
    identities must be the ticket's, so that this proves as much.
    """
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    if of_initiator:
        message, nonce, key = sa.init_request, sa.nonce_r, sa.keys.pi
    else:
        message, nonce, key = sa.init_response, sa.nonce_i, sa.keys.pr
    octets = message if short else signed_octets(message, nonce, sa.chosen.prf, key, body)
    return sa.chosen.prf.compute(key, octets)


def prove(sa: IkeSa, identity: Identity, *, short: bool) -> wire.AUTH:
    """Our AUTH payload."""
    body = bytes((identity.id_type, 0, 0, 0)) + identity.data
    return wire.AUTH(METHOD, _auth_data(sa, body, of_initiator=sa.initiator, short=short))


def verify(sa: IkeSa, identity: wire.Identification, auth: wire.AUTH, *, short: bool) -> bool:
    """Whether the peer has the keys that come of the old session's, over its ID payload just as sent."""
    expected = _auth_data(sa, identity.octets(), of_initiator=not sa.initiator, short=short)
    return auth.method == METHOD and hmac.compare_digest(auth.data, expected)
