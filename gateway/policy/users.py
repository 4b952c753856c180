"""People, as EAP knows them: what a user proves himself with, and whether he may come in at all."""

from dataclasses import dataclass, field

from gateway.policy.identities import Identity, InvalidIdentity
from gateway.wire.numbers import IdType


@dataclass(frozen=True, slots=True)
class Device:
    """What a user comes in with: its name (`user/device`), its certificate (DER), and as whom that may come.

    A device that was given another certificate comes twice, until it comes in by that: the one before is `superseded`.
    """

    name: str
    certificate: bytes = field(repr=False)
    identities: tuple[Identity, ...] = ()
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """One person, found by the name that EAP's Identity gives.

    `password` is UTF-8; without one no method that asks for a password lets him in. `expires` is Unix time in seconds,
    None for never. `addresses` are virtual addresses that are always his. `totp_secret` is the key of his one-time
    codes (RFC 6238), empty where he has none. `identities` are IKE identities that are his beside his name, among
    them those of his devices. `sessions` is how many he may have at one time, 0 any number. `access_profile` is the
    profile that is his own, whatever his groups have; empty for none.
    """

    name: str
    password: bytes = field(default=b"", repr=False)
    enabled: bool = True
    expires: float | None = None
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    totp_secret: bytes = field(default=b"", repr=False)
    identities: tuple[Identity, ...] = ()
    sessions: int = 0
    access_profile: str = ""
    devices: tuple[Device, ...] = ()

    def device_of(self, certificate: bytes) -> Device | None:
        """Which device of his has this certificate (DER)."""
        return next((one for one in self.devices if one.certificate == certificate), None)

    @property
    def proof(self) -> tuple[bytes, bytes]:
        """What he proves himself with."""
        return self.password, self.totp_secret

    def barred(self, unix: float) -> str:
        """Why he may not come in at this time, as the end of a sentence; empty when he may."""
        if not self.enabled:
            return "is disabled"
        if self.expires is not None and unix >= self.expires:
            return "has expired"
        return ""


def user_identity(name: str) -> Identity:
    """A user's name as an identity for policy: an e-mail address, a name, or octets."""
    try:
        return Identity.parse(f"email:{name}" if "@" in name else f"fqdn:{name}")
    except InvalidIdentity:
        return Identity(IdType.ID_KEY_ID, name.encode())
