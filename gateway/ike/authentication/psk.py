"""Authentication by a pre-shared key (RFC 7296 2.15)."""

import hmac

from gateway.crypto.keys import psk_auth, signed_octets
from gateway.ike.sa import IkeSa
from gateway.policy.identities import Identity
from gateway.wire import payloads as wire
from gateway.wire.numbers import AuthMethod

METHOD = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE


def _auth_data(sa: IkeSa, psk: bytes, body: bytes, *, of_initiator: bool) -> bytes:
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    after = sa.intermediate.int_auth if sa.intermediate else b""
    if of_initiator:
        octets = signed_octets(sa.init_request, sa.nonce_r, sa.chosen.prf, sa.keys.pi, body, after)
    else:
        octets = signed_octets(sa.init_response, sa.nonce_i, sa.chosen.prf, sa.keys.pr, body, after)
    return psk_auth(sa.chosen.prf, psk, octets)


def prove(sa: IkeSa, psk: bytes, identity: Identity) -> wire.AUTH:
    """Our AUTH payload."""
    body = bytes((identity.id_type, 0, 0, 0)) + identity.data
    return wire.AUTH(METHOD, _auth_data(sa, psk, body, of_initiator=sa.initiator))


def verify(sa: IkeSa, psk: bytes, identity: wire.Identification, auth: wire.AUTH) -> bool:
    """Whether the peer's AUTH payload shows that it holds the key, over its ID payload just as sent."""
    expected = _auth_data(sa, psk, identity.octets(), of_initiator=not sa.initiator)
    return auth.method == METHOD and hmac.compare_digest(auth.data, expected)
