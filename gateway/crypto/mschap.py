"""What MS-CHAPv2 computes of a password (RFC 2759 8), and the keys that come of it (RFC 3079 3.4).

DES and MD4 are broken, and so is MS-CHAPv2 in the open: who sees an exchange finds the hash of the password in a day.
In IKEv2 it runs inside the IKE SA, to a gateway that has proven itself.
"""

import hashlib

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from gateway.crypto.md4 import md4

CHALLENGE_OCTETS = 16
_SIGNING = b"Magic server to client signing constant"
_ITERATION = b"Pad to make it do more than one iteration"
_MASTER = b"This is the MPPE Master Key"
_CLIENT_SENDS = b"On the client side, this is the send key; on the server side, it is the receive key."
_CLIENT_RECEIVES = b"On the client side, this is the receive key; on the server side, it is the send key."


def nt_hash(password: bytes) -> bytes:
    """NtPasswordHash: of a password in UTF-8. Raises ValueError when it is no UTF-8."""
    return md4(password.decode("utf-8").encode("utf-16-le"))


def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, name: bytes) -> bytes:
    """ChallengeHash; `name` is the user's, without the domain before a backslash."""
    return _sha1(peer_challenge + authenticator_challenge + name)[:8]


def nt_response(password_hash: bytes, challenge: bytes) -> bytes:
    """ChallengeResponse: the 8 octets of ChallengeHash under three keys made of the password's hash."""
    key = password_hash.ljust(21, b"\0")
    return b"".join(_des(key[start : start + 7], challenge) for start in (0, 7, 14))


def hash_hash(password_hash: bytes) -> bytes:
    """HashNtPasswordHash."""
    return md4(password_hash)


def authenticator_response(twice_hashed: bytes, response: bytes, challenge: bytes) -> bytes:
    """GenerateAuthenticatorResponse: by `S=` and 40 hexadecimal digits the server shows that it knows the hash, too.

    `twice_hashed` is the password's hash, hashed (`hash_hash`).
    """
    digest = _sha1(twice_hashed + response + _SIGNING)
    return b"S=" + _sha1(digest + challenge + _ITERATION).hex().upper().encode()


def master_key(twice_hashed: bytes, response: bytes) -> bytes:
    """GetMasterKey."""
    return _sha1(twice_hashed + response + _MASTER)[:16]


def start_key(master: bytes, *, of_client: bool) -> bytes:
    """GetAsymmetricStartKey with 128 bits: by which the client, or else the server, sends."""
    return _sha1(master + bytes(40) + (_CLIENT_SENDS if of_client else _CLIENT_RECEIVES) + b"\xf2" * 40)[:16]


def msk(twice_hashed: bytes, response: bytes) -> bytes:
    """EAP's 64 octets: the server's receive key, its send key, and zeros, as every implementation has it."""
    master = master_key(twice_hashed, response)
    return start_key(master, of_client=True) + start_key(master, of_client=False) + bytes(32)


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _des(key: bytes, block: bytes) -> bytes:
    """DES with 56 bits of key, which is TripleDES with the same key three times."""
    bits = int.from_bytes(key)
    spread = bytes((bits >> (49 - 7 * index) & 0x7F) << 1 for index in range(8))
    encryptor = Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305 - RFC 2759 8.6
    return encryptor.update(block) + encryptor.finalize()
