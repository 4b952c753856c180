"""Post-quantum pre-shared keys: what two ends have in common beside their key exchange (RFC 8784, RFC 9867)."""

from dataclasses import dataclass, field

from gateway.wire.numbers import PpkIdType

MAX_ID_OCTETS = 255


@dataclass(frozen=True, slots=True)
class Ppk:
    """A key of at least 32 octets and the identity by which the peer knows it too; `name` is ours alone."""

    name: str
    identity: str
    secret: bytes = field(repr=False)

    @property
    def ppk_id(self) -> bytes:
        """As it is sent: the type PPK_ID_FIXED and the configured octets (RFC 8784 5.1)."""
        return bytes((PpkIdType.PPK_ID_FIXED,)) + self.identity.encode()
