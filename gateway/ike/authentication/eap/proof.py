"""The AUTH payloads at the end of EAP, over the key that both ends have of it (RFC 7296 2.16)."""

import hmac

from gateway.crypto.keys import psk_auth
from gateway.ike.authentication.signed import octets_of, our_body
from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.numbers import AuthMethod

_METHOD = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE


def _key(sa: IkeSa, msk: bytes, *, ours: bool) -> bytes:
    """A method that makes no key is held to the IKE SA by SK_pi and SK_pr."""
    assert sa.keys is not None
    return msk or (sa.keys.pi if sa.initiator is ours else sa.keys.pr)


def prove(sa: IkeSa, msk: bytes) -> wire.AUTH:
    """Our AUTH payload."""
    assert sa.chosen is not None and sa.chosen.prf is not None
    octets = octets_of(sa, our_body(sa), ours=True)
    return wire.AUTH(_METHOD, psk_auth(sa.chosen.prf, _key(sa, msk, ours=True), octets))


def verify(sa: IkeSa, msk: bytes, sent: wire.Identification, auth: wire.AUTH) -> bool:
    """Whether the peer's AUTH payload shows that who spoke EAP is who made the IKE SA, over its ID just as sent."""
    assert sa.chosen is not None and sa.chosen.prf is not None
    octets = octets_of(sa, sent.octets(), ours=False)
    expected = psk_auth(sa.chosen.prf, _key(sa, msk, ours=False), octets)
    return auth.method == _METHOD and hmac.compare_digest(auth.data, expected)
