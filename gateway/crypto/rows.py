"""What a row of the algorithm table holds, one frozen dataclass for each transform type.

There is one object of each row: they are compared and hashed by identity.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.crypto.macs import aes_cmac_prf, aes_xcbc_prf


class Status(StrEnum):
    """How strongly RFC 8247 (IKEv2) or RFC 8221 (ESP) asks for it; what they do not name is MAY (RFC 8247 2.5)."""

    MUST = "MUST"
    MUST_MINUS = "MUST-"
    SHOULD_PLUS = "SHOULD+"
    SHOULD = "SHOULD"
    MAY = "MAY"
    SHOULD_NOT = "SHOULD NOT"
    MUST_NOT = "MUST NOT"


_AES128_XCBC = 4
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - only inside HMAC, for old peers
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True, eq=False)
class Encryption:
    """An encryption algorithm with one key length (transform type 1).

    `number` is IANA's, `key_bits` the Key Length attribute (0: the transform carries none), `keyword` strongSwan's,
    `kernel` the XFRM name. `salt_octets` follow the cipher key in the keying material. `iv_random` asks for an
    unpredictable IV, otherwise a counter serves. `icv_octets` is the AEAD's tag (0: an integrity algorithm adds its
    own). `strength` is in bits on the scale of NIST SP 800-57. `weak` rows exist for old peers only.
    """

    number: int
    key_bits: int
    keyword: str
    name: str
    aead: bool
    key_octets: int
    salt_octets: int
    iv_octets: int
    iv_random: bool
    icv_octets: int
    block_octets: int
    kernel: str
    strength: int
    ike_status: Status
    esp_status: Status
    label: str
    weak: bool = False

    @property
    def key_material_octets(self) -> int:
        """Octets taken from prf+ for one direction: the key and its salt (RFC 5282 7.1, RFC 4106 8.1)."""
        return self.key_octets + self.salt_octets


@dataclass(frozen=True, slots=True, eq=False)
class Integrity:
    """An integrity algorithm (transform type 3): a MAC, its key length and the `icv_octets` that it is cut to."""

    number: int
    keyword: str
    name: str
    key_octets: int
    icv_octets: int
    kernel: str
    kernel_truncation_bits: int
    strength: int
    ike_status: Status
    esp_status: Status
    label: str
    digest: str = ""  # hashlib's name when the MAC is an HMAC
    weak: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PseudoRandom:
    """A pseudo-random function (transform type 2): `key_octets` is its preferred key length (RFC 7296 2.13)."""

    number: int
    keyword: str
    name: str
    key_octets: int
    output_octets: int
    strength: int
    status: Status
    label: str
    digest: str = ""  # hashlib's name when the function is an HMAC
    weak: bool = False

    @property
    def short_nonces(self) -> bool:
        """Whether SKEYSEED takes only the first 64 bits of each nonce (RFC 7296 2.14)."""
        return not self.digest

    def compute(self, key: bytes, data: bytes) -> bytes:
        """prf(key, data), `output_octets` long; the key may have any length (RFC 7296 2.13)."""
        if self.digest:
            return hmac.digest(key, data, self.digest)
        return aes_xcbc_prf(key, data) if self.number == _AES128_XCBC else aes_cmac_prf(key, data)

    def expand(self, key: bytes, seed: bytes, octets: int) -> bytes:
        """prf+(key, seed), its first `octets`; ValueError beyond 255 blocks (RFC 7296 2.13)."""
        if self.digest:  # RFC 5869 2.3 is the same function, and OpenSSL's is four times as fast as the loop
            return HKDFExpand(_HASHES[self.digest], octets, seed).derive(key)
        if octets > 255 * self.output_octets:
            raise ValueError(f"prf+ gives at most {255 * self.output_octets} octets, not {octets}")
        stream = block = b""
        for count in range(1, -(-octets // self.output_octets) + 1):
            block = self.compute(key, block + seed + bytes((count,)))
            stream += block
        return stream[:octets]


@dataclass(frozen=True, slots=True, eq=False)
class KeyExchangeMethod:
    """A key exchange method (transform types 4 and 6-12).

    `public_octets` is the length of the KE data that the initiator sends, `answer_octets` of what the responder sends
    back (different for a KEM only), `shared_octets` of the shared secret.
    """

    number: int
    keyword: str
    name: str
    public_octets: int
    answer_octets: int
    shared_octets: int
    strength: int
    status: Status
    label: str
    kem: bool = False
    weak: bool = False


Algorithm = Encryption | Integrity | PseudoRandom | KeyExchangeMethod
