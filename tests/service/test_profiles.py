"""The files for devices, each against its format's documentation."""

import base64
import configparser
import json
import plistlib
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.access import AccessProfile
from gateway.policy.authentication import LocalAuth, Method, RemoteAuth
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.service.profiles import PLATFORMS, apple
from gateway.service.profiles.joining import Joining, Unfit, join
from gateway.service.profiles.windows import quoted
from gateway.wire.numbers import Protocol
from tests.pki import issue, private, root

ROOT = root("O=Lab, CN=Root")
GATE = issue("O=Lab, CN=gate", ROOT, "dns:gate.example")
IKE = (
    Proposal.parse("aes256gcm16-prfsha384-x25519-ke1_mlkem768", Protocol.IKE),
    Proposal.parse("aes256gcm16-prfsha384-ecp384", Protocol.IKE),
)
ESP = (Proposal.parse("aes256gcm16-ecp384", Protocol.ESP),)
ANNA = User("anna@example.com", b"her secret words")


def peer(**more: Any) -> Peer:
    child = Child("net", (Selector.parse("10.1.0.0/16"), Selector.parse("fd01::/64")), (), ESP, Start.PASSIVE)
    base = Peer(
        "people",
        IdentityPattern.parse("%any"),
        IKE,
        (child,),
        Identity.parse("gate.example"),
        local_auth=(LocalAuth(Method.CERTIFICATE, "gate"),),
        remote_auth=(RemoteAuth(Method.EAP),),
    )
    return replace(base, **more)


def joining(one: Peer | None = None, gate: Any = GATE) -> Joining:
    credentials, authorities = [gate.credential("gate")], [ROOT.authority("root")]
    snapshot = Snapshot.build(1, [one or peer()], (), credentials=credentials, authorities=authorities, users=[ANNA])
    return join(snapshot, snapshot.peers["people"], ANNA, "vpn.example")


def test_a_file_goes_as_far_as_the_users_access_profile() -> None:
    strong = (Proposal.parse("chacha20poly1305", Protocol.ESP),)
    web = AccessProfile("web", (Selector.parse("10.1.0.80/32[tcp/443]"),), groups=("staff",), esp=strong)
    others = replace(peer().children[0], name="others", groups=("others",))
    one = peer(children=(*peer().children, others))
    kinds: dict[str, Any] = {"credentials": [GATE.credential("gate")], "authorities": [ROOT.authority("root")]}
    snapshot = Snapshot.build(1, [one], (), **kinds, access_profiles=[web])
    anna = replace(ANNA, groups=("staff",))
    found = join(snapshot, one, anna, "vpn.example")
    assert (found.networks, found.esp, found.ike) == (("10.1.0.80/32",), strong, IKE)
    outside = replace(web, networks=(Selector.parse("10.7.0.0/16"),))
    with pytest.raises(Unfit, match=r"no child for anna@example\.com"):
        join(Snapshot.build(1, [one], (), **kinds, access_profiles=[outside]), one, anna, "vpn.example")


def test_no_file_holds_a_secret() -> None:
    for platform in PLATFORMS.values():
        octets = platform.make(joining())
        assert b"secret words" not in octets
        assert b"vpn.example" in octets
        assert platform.make(joining()) == octets or platform.name == "apple"  # a signature has its time in it


def test_what_a_peer_lacks_for_devices_is_said() -> None:
    for change, words in (
        ({"remote_auth": (RemoteAuth(),)}, "does not ask for a password"),
        ({"local_auth": (LocalAuth(),)}, "no certificate"),
        ({"children": ()}, "no child"),
    ):
        with pytest.raises(Unfit, match=words):
            joining(peer(**change))


# Apple: Device Management, VPN.IKEv2 (keys and their values), and the Configuration Profile Reference.
APPLE_GROUPS = {1, 2, 5, *range(14, 22), 31, 32}
APPLE_ENCRYPTION = {"DES", "3DES", "AES-128", "AES-256", "AES-128-GCM", "AES-256-GCM", "ChaCha20Poly1305"}
APPLE_INTEGRITY = {"SHA1-96", "SHA1-160", "SHA2-256", "SHA2-384", "SHA2-512"}


def test_apples_profile_names_every_algorithm() -> None:
    document = apple.document(joining())
    assert (document["PayloadType"], document["PayloadVersion"]) == ("Configuration", 1)
    payloads = {one["PayloadType"]: one for one in document["PayloadContent"]}
    for one in (document, *payloads.values()):
        assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", one["PayloadUUID"])
        assert one["PayloadIdentifier"] and one["PayloadDisplayName"]
    assert len({one["PayloadUUID"] for one in (document, *payloads.values())}) == 3
    assert payloads["com.apple.security.root"]["PayloadContent"] == ROOT.der
    vpn = payloads["com.apple.vpn.managed"]
    assert vpn["VPNType"] == "IKEv2"
    said = vpn["IKEv2"]
    assert (said["RemoteAddress"], said["RemoteIdentifier"], said["AuthName"]) == (
        "vpn.example",
        "gate.example",
        "anna@example.com",
    )
    assert (said["AuthenticationMethod"], said["ExtendedAuthEnabled"], said["EnablePFS"]) == ("None", 1, 1)
    for parameters in (said["IKESecurityAssociationParameters"], said["ChildSecurityAssociationParameters"]):
        assert parameters["EncryptionAlgorithm"] in APPLE_ENCRYPTION
        assert parameters["IntegrityAlgorithm"] in APPLE_INTEGRITY
        assert parameters["DiffieHellmanGroup"] in APPLE_GROUPS
        assert 10 <= parameters["LifeTimeInMinutes"] <= 1440
    assert said["IKESecurityAssociationParameters"] == {
        "EncryptionAlgorithm": "AES-256-GCM",
        "IntegrityAlgorithm": "SHA2-384",
        "DiffieHellmanGroup": 20,
        "LifeTimeInMinutes": 1440,
    }


@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_apples_profile_is_signed_by_the_gateway(tmp_path: Path, kind: str) -> None:
    gate = issue("O=Lab, CN=gate", ROOT, "dns:gate.example", key=private(kind, 77))
    (tmp_path / "profile").write_bytes(PLATFORMS["apple"].make(joining(gate=gate)))
    (tmp_path / "root.pem").write_text(ROOT.pem)
    verified = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", tmp_path / "profile", "-CAfile", tmp_path / "root.pem",
         "-purpose", "any", "-no_check_time"],
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert plistlib.loads(verified.stdout) == apple.document(joining(gate=gate))


def test_a_key_that_apple_cannot_verify_leaves_the_profile_unsigned() -> None:
    gate = issue("O=Lab, CN=gate", ROOT, "dns:gate.example", key=private("ed25519", 77))
    assert plistlib.loads(PLATFORMS["apple"].make(joining(gate=gate)))["PayloadType"] == "Configuration"


# docs.strongswan.org, "Android VPN Client Profiles": keys, required ones and types.
SSWAN = {
    *("uuid", "name", "type", "remote", "local", "ike-proposal", "esp-proposal", "dns-servers", "mtu"),
    *("nat-keepalive", "ipv6-transport", "split-tunneling", "apps", "excluded-apps", "proxy"),
}
SSWAN_REMOTE = {"addr", "port", "id", "cert", "certreq", "revocation"}
SSWAN_LOCAL = {"id", "eap_id", "shared_secret", "p12", "rsa-pss"}


def test_androids_profile_has_what_its_client_reads() -> None:
    said = json.loads(PLATFORMS["android"].make(joining()))
    assert said.keys() <= SSWAN and said["remote"].keys() <= SSWAN_REMOTE and said["local"].keys() <= SSWAN_LOCAL
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", said["uuid"])
    assert said["type"] in {"ikev2-eap", "ikev2-cert", "ikev2-cert-eap", "ikev2-eap-tls", "ikev2-byod-eap"}
    assert said["local"] == {"eap_id": "anna@example.com"}
    assert base64.b64decode(said["remote"]["cert"], validate=True) == ROOT.der
    assert said["ike-proposal"] == "aes256gcm16-prfsha384-ecp384"  # version 5 knows no ke1_mlkem768
    assert said["split-tunneling"]["subnets"] == ["10.1.0.0/16", "fd01::/64"]
    everything = replace(peer().children[0], local=(Selector.parse("0.0.0.0/0"),))
    assert "split-tunneling" not in json.loads(PLATFORMS["android"].make(joining(peer(children=(everything,)))))


# Microsoft: Set-VpnConnectionIPsecConfiguration, the values that each parameter takes.
WINDOWS = {
    "EncryptionMethod": {"DES", "DES3", "AES128", "AES192", "AES256", "GCMAES128", "GCMAES256"},
    "IntegrityCheckMethod": {"MD5", "SHA1", "SHA256", "SHA384"},
    "DHGroup": {"None", "Group1", "Group2", "Group14", "ECP256", "ECP384", "Group24"},
    "CipherTransformConstants": {
        "DES",
        "DES3",
        "AES128",
        "AES192",
        "AES256",
        "GCMAES128",
        "GCMAES192",
        "GCMAES256",
        "None",
    },
    "AuthenticationTransformConstants": {"MD596", "SHA196", "SHA256128", "GCMAES128", "GCMAES192", "GCMAES256", "None"},
    "PfsGroup": {"None", "PFS1", "PFS2", "PFS2048", "ECP256", "ECP384", "PFSMM", "PFS24"},
}


@pytest.mark.parametrize("esp", ["aes256gcm16-ecp384", "aes256-sha256-modp2048", "aes128gcm16"])
def test_windows_is_told_strong_suites_by_words_that_it_knows(esp: str) -> None:
    child = replace(peer().children[0], proposals=(Proposal.parse(esp, Protocol.ESP),))
    text = PLATFORMS["windows"].make(joining(peer(children=(child,)))).decode("utf-8-sig")
    (line,) = [line for line in text.splitlines() if line.startswith("Set-VpnConnectionIPsecConfiguration")]
    said = dict(re.findall(r"-(\w+) (\w+)", line))
    for parameter, words in WINDOWS.items():
        assert said[parameter] in words
    assert (said["EncryptionMethod"], said["IntegrityCheckMethod"], said["DHGroup"]) == (
        "GCMAES256",
        "SHA384",
        "ECP384",
    )
    assert "-SplitTunneling" in text
    assert re.findall(r"-DestinationPrefix '([^']*)'", text) == ["10.1.0.0/16", "fd01::/64"]
    assert base64.b64encode(ROOT.der).decode() in text


def test_nothing_ends_a_string_of_powershell() -> None:
    assert quoted("a'; Remove-Item C:\\ #") == "'a''; Remove-Item C:\\ #'"
    assert quoted("\u2019; calc #") == "'\u2019\u2019; calc #'"


def test_windows_cannot_do_what_it_has_no_words_for() -> None:
    modern = (Proposal.parse("aes256gcm16-prfsha384-x25519", Protocol.IKE),)
    with pytest.raises(Unfit, match="aes256gcm16-prfsha384-x25519"):
        PLATFORMS["windows"].make(joining(peer(proposals=modern)))


def test_network_managers_file_is_a_keyfile_of_its_plugin() -> None:
    text = PLATFORMS["networkmanager"].make(joining()).decode()
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.read_string(text)
    assert parser["connection"]["type"] == "vpn"
    vpn = parser["vpn"]
    assert vpn["service-type"] == "org.freedesktop.NetworkManager.strongswan"
    assert (vpn["address"], vpn["method"], vpn["user"], vpn["virtual"]) == (
        "vpn.example",
        "eap",
        "anna@example.com",
        "yes",
    )
    assert vpn["password-flags"] == "1" and "password" not in vpn


@pytest.mark.parametrize("login", ["anna\nsecrets { }", 'anna"', "anna}", "anna#"])
@pytest.mark.parametrize("device", ["swanctl", "networkmanager"])
def test_a_login_writes_no_lines_of_its_own(login: str, device: str) -> None:
    with pytest.raises(Unfit, match="cannot be written"):
        PLATFORMS[device].make(replace(joining(), login=login))
