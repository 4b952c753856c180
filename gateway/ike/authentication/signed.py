"""The octets that an AUTH payload proves, for every method alike (RFC 7296 2.15, RFC 9242 3.3.2)."""

from gateway.crypto.keys import signed_octets
from gateway.ike.sa import IkeSa


def octets_of(sa: IkeSa, body: bytes, *, ours: bool) -> bytes:
    """What this end signs or MACs; `body` is its ID payload without the generic header, just as sent."""
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    after = sa.intermediate.int_auth if sa.intermediate else b""
    if sa.initiator is ours:
        return signed_octets(sa.init_request, sa.nonce_r, sa.chosen.prf, sa.keys.pi, body, after)
    return signed_octets(sa.init_response, sa.nonce_i, sa.chosen.prf, sa.keys.pr, body, after)


def our_body(sa: IkeSa) -> bytes:
    """Our own ID payload without the generic header."""
    assert sa.local_id is not None
    return bytes((sa.local_id.id_type, 0, 0, 0)) + sa.local_id.data
