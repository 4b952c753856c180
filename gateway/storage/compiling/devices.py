"""Devices, from documents to policy: which certificates are whose."""

from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from gateway.crypto import containers
from gateway.crypto.authority import name_texts
from gateway.crypto.certificates import MALFORMED
from gateway.policy.identities import Identity
from gateway.policy.users import Device
from gateway.storage.devices import DeviceObject
from gateway.storage.findings import Findings, Pointers
from gateway.storage.objects import Inventory
from gateway.wire.numbers import IdType


def compile_devices(inventory: Inventory, pointer: Pointers, found: Findings) -> dict[str, tuple[Device, ...]]:
    """The devices that have a certificate, by the user's name."""
    devices: dict[str, tuple[Device, ...]] = {}
    for name, document in sorted(inventory.devices.items()):
        at = pointer("devices", name)
        if document.user not in inventory.users:
            found.add(f"{at}/name", "unknown-reference", f"there is no user {document.user!r}")
        known = [_device(inventory, document, which, at, found) for which in ("", "previous_")]
        devices[document.user] = (*devices.get(document.user, ()), *(one for one in known if one is not None))
    return devices


def _device(inventory: Inventory, document: DeviceObject, which: str, at: str, found: Findings) -> Device | None:
    """The device by one of its certificates; None without that."""
    certificate, authority = getattr(document, f"{which}certificate"), getattr(document, f"{which}authority")
    if not certificate:
        return None
    if authority not in inventory.authorities:
        found.add(f"{at}/{which}authority", "unknown-reference", f"there is no authority {authority!r}")
    elif not _issued(certificate, inventory.authorities[authority].certificate):
        found.add(f"{at}/{which}authority", "other-authority", f"{authority!r} did not issue this certificate")
    try:
        octets, identities = read_device(certificate)
    except ValueError as error:
        found.add(f"{at}/{which}certificate", "invalid-certificate", str(error))
        return None
    return Device(document.name, octets, identities, superseded=bool(which))


@lru_cache(maxsize=100_000)
def read_device(text: str) -> tuple[bytes, tuple[Identity, ...]]:
    """A device's certificate in DER, and as whom it may come: by an alternative name, or by its subject, as Windows
    does. Raises ValueError."""
    certificate = containers.read_certificates(text.encode())[0]
    names = [Identity.parse(name) for name in name_texts(certificate)]
    return containers.der(certificate), (*names, subject_of(certificate))


@lru_cache(maxsize=100_000)
def _issued(text: str, authority: str) -> bool:
    """Whether this authority can revoke the certificate: it, and no other, issued it."""
    try:
        above = containers.read_certificates(authority.encode())[0]
        containers.read_certificates(text.encode())[0].verify_directly_issued_by(above)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def subject_of(certificate: x509.Certificate) -> Identity:
    """A certificate's subject, as an identity of IKE."""
    return Identity(IdType.ID_DER_ASN1_DN, certificate.subject.public_bytes())
