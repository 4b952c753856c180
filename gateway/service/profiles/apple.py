"""Configuration profiles of iOS, iPadOS and macOS (Apple: "Configuration Profile Reference", VPN, IKEv2 dictionary).

All algorithms are named: what Apple takes without being told is weak, and where the groups of rekeys differ from those
of the gateway a tunnel drops after its first lifetime.
"""

import plistlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from gateway.crypto.containers import key_octets
from gateway.service.profiles.joining import DeviceKey, Joining, Suite, Unfit, suite

_ENCRYPTION = {
    "aes256gcm16": "AES-256-GCM",
    "aes128gcm16": "AES-128-GCM",
    "chacha20poly1305": "ChaCha20Poly1305",
    "aes256": "AES-256",
    "aes128": "AES-128",
}
_INTEGRITY = {"sha256": "SHA2-256", "sha384": "SHA2-384", "sha512": "SHA2-512"}
_GROUPS = {
    "x25519": "31",
    "ecp384": "20",
    "ecp256": "19",
    "ecp521": "21",
    "modp3072": "15",
    "modp4096": "16",
    "modp2048": "14",
}
_IKE_MINUTES, _CHILD_MINUTES = 1440, 480
_SAFE_INTEGRITY = "SHA2-256"
_CERTIFICATE_TYPE = "ECDSA256"  # the keys of devices are of P-256


def profile(joining: Joining) -> bytes:
    """A .mobileconfig, signed (CMS, RFC 5652) where our key is one that Apple can verify. Raises Unfit."""
    octets = plistlib.dumps(document(joining))
    return _signed(octets, joining) or octets


def document(joining: Joining) -> dict[str, Any]:
    """The profile before it is signed. Raises Unfit."""
    payloads = [_vpn(joining)]
    if joining.device:
        payloads.append(_identity(joining, joining.device))
    if joining.anchor:
        payloads.append(_authority(joining))
    return {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"ikegate.{joining.identifier('profile').lower()}",
        "PayloadUUID": joining.identifier("profile"),
        "PayloadDisplayName": f"VPN {joining.title}",
        "PayloadDescription": f"Remote access to {joining.server} for {joining.login}",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": payloads,
    }


def _vpn(joining: Joining) -> dict[str, Any]:
    esp = suite(joining.esp, _ENCRYPTION, _INTEGRITY, _GROUPS, "Apple's client")
    ike = suite(joining.ike, _ENCRYPTION, _INTEGRITY, _GROUPS, "Apple's client")
    ikev2: dict[str, Any] = {
        "RemoteAddress": joining.server,
        "RemoteIdentifier": joining.server_id,
        **_proof(joining),
        "DeadPeerDetectionRate": "Medium",
        "DisableMOBIKE": 0,
        "DisableRedirect": 0,
        "EnablePFS": int(bool(esp.group)),
        "UseConfigurationAttributeInternalIPSubnet": 0,  # the traffic selectors say it
        "IKESecurityAssociationParameters": _parameters(ike, _IKE_MINUTES),
        "ChildSecurityAssociationParameters": _parameters(esp, _CHILD_MINUTES, ike.group),
    }
    return {
        "PayloadType": "com.apple.vpn.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"ikegate.{joining.identifier('vpn').lower()}",
        "PayloadUUID": joining.identifier("vpn"),
        "PayloadDisplayName": f"VPN {joining.title}",
        "UserDefinedName": f"{joining.title} ({joining.server})",
        "VPNType": "IKEv2",
        "IKEv2": ikev2,
    }


def _proof(joining: Joining) -> dict[str, Any]:
    """How the device proves itself, and when it does so without being told."""
    device = joining.device
    if joining.two_rounds:
        raise Unfit("Apple's client proves itself once: the peer may ask for a certificate or a password, not for both")
    if device is None:
        # with EAP the extended authentication is all
        proof = {"AuthenticationMethod": "None", "ExtendedAuthEnabled": 1, "AuthName": joining.login}
        return {"LocalIdentifier": joining.login, **proof}
    said = {
        "LocalIdentifier": device.identity,
        "AuthenticationMethod": "Certificate",
        "CertificateType": _CERTIFICATE_TYPE,
        "PayloadCertificateUUID": joining.identifier("identity"),
        "ExtendedAuthEnabled": 0,
    }
    if joining.on_demand:
        said |= {"OnDemandEnabled": 1, "OnDemandRules": [{"Action": "Connect"}]}
    return said


def _identity(joining: Joining, device: DeviceKey) -> dict[str, Any]:
    """The device's key. Its password stands beside it, so that nobody has to type one: the file is the secret."""
    return {
        "PayloadType": "com.apple.security.pkcs12",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"ikegate.{joining.identifier('identity').lower()}",
        "PayloadUUID": joining.identifier("identity"),
        "PayloadDisplayName": f"Certificate of {device.identity}",
        "PayloadCertificateFileName": f"{device.name}.p12",
        "PayloadContent": device.pkcs12(old=True),
        "Password": device.password,
    }


def _parameters(chosen: Suite, minutes: int, group: str = "") -> dict[str, Any]:
    return {
        "EncryptionAlgorithm": chosen.encryption,
        "IntegrityAlgorithm": chosen.integrity or _SAFE_INTEGRITY,
        "DiffieHellmanGroup": int(chosen.group or group),
        "LifeTimeInMinutes": minutes,
    }


def _authority(joining: Joining) -> dict[str, Any]:
    return {
        "PayloadType": "com.apple.security.root",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"ikegate.{joining.identifier('authority').lower()}",
        "PayloadUUID": joining.identifier("authority"),
        "PayloadDisplayName": f"Authority of {joining.server}",
        "PayloadContent": joining.anchor,
    }


def _signed(octets: bytes, joining: Joining) -> bytes | None:
    if joining.signer is None:
        return None
    ours, chain = joining.signer
    key = load_der_private_key(key_octets(ours), None)
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):  # CMS of Apple's knows no other keys
        return None
    own, *others = (x509.load_der_x509_certificate(one) for one in chain)
    builder = PKCS7SignatureBuilder().set_data(octets).add_signer(own, key, hashes.SHA256())
    for other in others:
        builder = builder.add_certificate(other)
    return builder.sign(Encoding.DER, [PKCS7Options.Binary])
