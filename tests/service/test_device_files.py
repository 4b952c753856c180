"""The files for devices with a certificate, each against its format's documentation."""

import base64
import configparser
import json
import plistlib
import re
import tarfile
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.crypto import containers
from gateway.crypto.signature_keys import spki
from gateway.policy.authentication import Method, RemoteAuth
from gateway.policy.peers import Peer
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.service.issuing import make_key
from gateway.service.profiles import KEYED, DeviceKey, Joining, apple
from gateway.service.profiles.joining import Unfit, join
from gateway.wire.numbers import Protocol
from tests.pki import issue, root
from tests.service.test_profiles import (
    ANNA,
    APPLE_ENCRYPTION,
    APPLE_GROUPS,
    APPLE_INTEGRITY,
    GATE,
    ROOT,
    SSWAN,
    SSWAN_LOCAL,
    SSWAN_REMOTE,
    WINDOWS,
    peer,
)

PEOPLE = root("O=Lab, CN=People")
KEY = make_key("ecdsa-p256")
PHONE = issue("O=anna, CN=phone", PEOPLE, "anna+phone@example.com", key=KEY.unwrapped)
IDENTITY = "anna+phone@example.com"
PASSWORD = "k3y-p4ssword"
DEVICE = DeviceKey("anna-phone", IDENTITY, KEY, (PHONE.der,), PEOPLE.der, PASSWORD, by_subject=True)
CERTIFICATE, EAP = RemoteAuth(Method.CERTIFICATE), RemoteAuth(Method.EAP)


def joining(one: Peer | None = None, *rounds: RemoteAuth, **more: Any) -> Joining:
    credentials, authorities = [GATE.credential("gate")], [ROOT.authority("root")]
    people = replace(one or peer(), remote_auth=rounds or (CERTIFICATE,))
    snapshot = Snapshot.build(1, [people], (), credentials=credentials, authorities=authorities, users=[ANNA])
    return join(snapshot, people, ANNA, "vpn.example", more.pop("device", DEVICE), **more)


def opened(octets: bytes) -> None:
    """It is the device's key with its certificate, under the password."""
    key, own, others = pkcs12.load_key_and_certificates(octets, PASSWORD.encode())
    assert key is not None and own is not None and not others
    assert spki(key.public_key()) == KEY.public.spki  # type: ignore[arg-type]
    assert containers.der(own) == PHONE.der
    with pytest.raises(ValueError):
        pkcs12.load_key_and_certificates(octets, b"another")


def unpacked(octets: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=BytesIO(octets)) as archive:
        members = archive.getmembers()
        assert {(one.mode, one.uid, one.isfile()) for one in members} == {(0o600, 0, True)}
        assert not any(one.name.startswith(("/", "..")) for one in members)
        return {one.name: archive.extractfile(one).read().decode() for one in members}  # type: ignore[union-attr]


# Apple: Device Management, VPN.IKEv2; CertificatePKCS12; VPN.OnDemandRulesElement.
APPLE_CERTIFICATE_TYPES = {"RSA", "ECDSA256", "ECDSA384", "ECDSA521", "Ed25519", "RSA-PSS"}


def test_apples_profile_has_the_key_and_refers_to_it() -> None:
    document = apple.document(joining())
    payloads = {one["PayloadType"]: one for one in document["PayloadContent"]}
    assert payloads.keys() == {"com.apple.vpn.managed", "com.apple.security.pkcs12", "com.apple.security.root"}
    assert len({one["PayloadUUID"] for one in (document, *payloads.values())}) == 4
    sealed = payloads["com.apple.security.pkcs12"]
    assert sealed["Password"] == PASSWORD and sealed["PayloadCertificateFileName"] == "anna-phone.p12"
    opened(sealed["PayloadContent"])
    said = payloads["com.apple.vpn.managed"]["IKEv2"]
    assert said["PayloadCertificateUUID"] == sealed["PayloadUUID"]
    assert (said["AuthenticationMethod"], said["ExtendedAuthEnabled"]) == ("Certificate", 0)
    assert said["CertificateType"] in APPLE_CERTIFICATE_TYPES and said["CertificateType"] == "ECDSA256"
    assert (said["LocalIdentifier"], said["RemoteIdentifier"]) == (IDENTITY, "gate.example")
    assert "AuthName" not in said and "OnDemandEnabled" not in said
    assert plistlib.loads(plistlib.dumps(document)) == document


@pytest.mark.parametrize(("esp", "group", "pfs"), [("aes256gcm16-ecp384", 20, 1), ("aes256gcm16", 20, 0)])
def test_apple_rekeys_as_the_gateway_does(esp: str, group: int, pfs: int) -> None:
    """Otherwise the tunnel drops after a lifetime: with a group the gateway asks for one, without it must be off."""
    child = replace(peer().children[0], proposals=(Proposal.parse(esp, Protocol.ESP),))
    (vpn,) = [
        one["IKEv2"]
        for one in apple.document(joining(peer(children=(child,))))["PayloadContent"]
        if one["PayloadType"] == "com.apple.vpn.managed"
    ]
    assert vpn["EnablePFS"] == pfs
    for name in ("IKESecurityAssociationParameters", "ChildSecurityAssociationParameters"):
        parameters = vpn[name]
        assert parameters["DiffieHellmanGroup"] == group and group in APPLE_GROUPS
        assert parameters["EncryptionAlgorithm"] in APPLE_ENCRYPTION
        assert parameters["IntegrityAlgorithm"] in APPLE_INTEGRITY


def test_apple_connects_by_itself_where_it_is_told_so() -> None:
    (vpn,) = [
        one["IKEv2"]
        for one in apple.document(joining(on_demand=True))["PayloadContent"]
        if one["PayloadType"] == "com.apple.vpn.managed"
    ]
    assert vpn["OnDemandEnabled"] == 1
    assert [rule["Action"] for rule in vpn["OnDemandRules"]] == ["Connect"]


@pytest.mark.parametrize(("rounds", "kind"), [((CERTIFICATE,), "ikev2-cert"), ((CERTIFICATE, EAP), "ikev2-cert-eap")])
def test_androids_profile_has_the_key(rounds: tuple[RemoteAuth, ...], kind: str) -> None:
    said = json.loads(KEYED["android"].make(joining(None, *rounds)))
    assert said.keys() <= SSWAN and said["remote"].keys() <= SSWAN_REMOTE and said["local"].keys() <= SSWAN_LOCAL
    assert said["type"] == kind
    assert said["local"]["id"] == IDENTITY
    assert said["local"].get("eap_id") == ("anna@example.com" if EAP in rounds else None)
    opened(base64.b64decode(said["local"]["p12"], validate=True))


def test_windows_gets_the_key_into_the_machines_store() -> None:
    text = KEYED["windows"].make(joining()).decode("utf-8-sig")
    (line,) = [line for line in text.splitlines() if line.startswith("Add-VpnConnection ")]
    said = dict(re.findall(r"-(\w+) (\S+)", line))
    # Microsoft: Add-VpnConnection, the values of -AuthenticationMethod, and its filter of machine certificates
    assert said["AuthenticationMethod"] in {"Pap", "Chap", "MSChapv2", "Eap", "MachineCertificate"}
    assert said["AuthenticationMethod"] == "MachineCertificate"
    assert (said["TunnelType"], said["EncryptionLevel"]) == ("Ikev2", "Maximum")
    assert said["MachineCertificateIssuerFilter"] == "$issuer"
    (line,) = [line for line in text.splitlines() if line.startswith("Set-VpnConnectionIPsecConfiguration")]
    said = dict(re.findall(r"-(\w+) (\w+)", line))
    assert all(said[parameter] in words for parameter, words in WINDOWS.items())
    given = [base64.b64decode(one) for one in re.findall(r"FromBase64String\('([^']*)'\)", text)]
    assert given[:3] == [ROOT.der, PEOPLE.der, PEOPLE.der]
    opened(given[3])
    assert f"'{PASSWORD}', 'MachineKeySet,PersistKeySet'" in text


def test_windows_must_be_known_by_its_subject() -> None:
    with pytest.raises(Unfit, match="certificate's subject"):
        KEYED["windows"].make(joining(device=replace(DEVICE, by_subject=False)))


@pytest.mark.parametrize("device", ["apple", "windows", "networkmanager"])
def test_who_proves_himself_once_cannot_come_in_by_two_proofs(device: str) -> None:
    with pytest.raises(Unfit, match="once"):
        KEYED[device].make(joining(None, CERTIFICATE, EAP))


def test_network_managers_files_are_where_the_plugin_looks() -> None:
    files = unpacked(KEYED["networkmanager"].make(joining()))
    (connection,) = [text for name, text in files.items() if name.endswith(".nmconnection")]
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.read_string(connection)
    vpn = parser["vpn"]
    assert (vpn["method"], vpn["cert-source"], vpn["local-identity"]) == ("cert", "file", IDENTITY)
    assert "user" not in vpn and "password-flags" not in vpn
    assert containers.read_private_key(files[vpn["userkey"][1:]].encode()).public.spki == KEY.public.spki
    assert containers.der(containers.read_certificates(files[vpn["usercert"][1:]].encode())[0]) == PHONE.der
    assert containers.der(containers.read_certificates(files[vpn["certificate"][1:]].encode())[0]) == ROOT.der


@pytest.mark.parametrize("device", ["swanctl", "networkmanager"])
@pytest.mark.parametrize("name", ["anna+phone@example.com\nsecrets { }", 'a"', "a}", "a#"])
def test_an_identity_writes_no_lines_of_its_own(device: str, name: str) -> None:
    with pytest.raises(Unfit, match="cannot be written"):
        KEYED[device].make(joining(device=replace(DEVICE, identity=name)))


def test_a_key_is_no_part_of_what_is_told() -> None:
    assert PASSWORD not in repr(joining()) and PASSWORD not in repr(DEVICE)


def test_a_peer_asks_for_what_the_device_has() -> None:
    with pytest.raises(Unfit, match="does not ask for a certificate"):
        joining(None, EAP)
    with pytest.raises(Unfit, match="asks for more than a password"):
        joining(None, EAP, EAP, device=None)
