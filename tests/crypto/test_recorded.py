"""Recorded negotiations of strongSwan: every secret derived again, every packet opened, every AUTH verified."""

import json
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.crypto.keys import psk_auth, signed_octets
from tests.crypto.wiretap import AUTH, CERT, IDI, IDR, IKE_AUTH, IKE_SA_INIT, SA, Opened, Wiretap, body
from tests.vectors_root import vectors

# Name -> IKE SA key derivations, CHILD_SAs, messages, ESP packets that the recording holds.
TRANSCRIPTS = {
    "01-psk-x25519-aescbc128-sha256": (1, 1, 8, 2),
    "03-psk-ecp256-aes256gcm16-prfsha384": (1, 1, 8, 4),
    "09-psk-mlkem768-rekey-child-and-ike": (3, 2, 24, 4),
    "17-psk-wrong-ke-guess": (1, 1, 8, 4),
    "21-cert-ecdsa256": (1, 1, 8, 4),
    "31-eap-mschapv2": (1, 1, 14, 2),
}
LOGS = ("initiator_log", "responder_log")
SK_LABELS = {"d": "Sk_d", "ai": "Sk_ai", "ar": "Sk_ar", "ei": "Sk_ei", "er": "Sk_er", "pi": "Sk_pi", "pr": "Sk_pr"}
CHILD_LABELS = {
    "encr_i": "encryption initiator key",
    "encr_r": "encryption responder key",
    "integ_i": "integrity initiator key",
    "integ_r": "integrity responder key",
}


@dataclass
class Log:
    """One end's log: the values that it printed under each label, in order."""

    entries: list[dict[str, Any]]

    def values(self, label: str) -> list[bytes]:
        return [bytes.fromhex(entry["hex"]) for entry in self.entries if entry.get("label") == label]

    @property
    def secrets(self) -> list[bytes]:
        pairs = zip(self.values("key exchange secret"), self.values("additional key exchange secret"), strict=True)
        return [secret for pair in pairs for secret in pair if secret]


@cache
def transcript(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((vectors() / "strongswan-transcripts" / f"{name}.json").read_text())
    return recorded


@cache
def replayed(name: str, log: str) -> tuple[Wiretap, Log]:
    recorded = transcript(name)
    entries = Log(recorded[log])
    tap = Wiretap(entries.secrets)
    for packet in recorded["packets"]:
        tap.datagram(packet["sport"], bytes.fromhex(packet["udp_payload"]))
    return tap, entries


both = pytest.mark.parametrize("log", LOGS)
each = pytest.mark.parametrize("name", TRANSCRIPTS)


@each
@both
def test_every_secret_is_derived_again(name: str, log: str) -> None:
    tap, entries = replayed(name, log)
    assert tap.secrets == []
    assert tap.seeds == entries.values("SKEYSEED")
    for attribute, label in SK_LABELS.items():
        derived = [getattr(keys, attribute) for keys in tap.derived]
        assert [key for key in derived if key] == entries.values(f"{label} secret")
    for attribute, label in CHILD_LABELS.items():
        keys = [getattr(child, attribute) for child in tap.children]
        assert [key for key in keys if key] == entries.values(label)


@each
def test_every_packet_is_opened(name: str) -> None:
    tap, _ = replayed(name, LOGS[0])
    derivations, children, _, esp = TRANSCRIPTS[name]
    assert (len(tap.derived), len(tap.children), len(tap.inner_packets)) == (derivations, children, esp)
    assert all(
        packet[0] >> 4 == 4 and int.from_bytes(packet[2:4], "big") == len(packet) for packet in tap.inner_packets
    )
    generated = [e["text"] for log in LOGS for e in transcript(name)[log] if e.get("grp") == "ENC"]
    sent = {text.removeprefix("generating ").split(" [")[0] for text in generated if text.startswith("generating")}
    names = {34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}
    names |= {43: "IKE_INTERMEDIATE", 44: "IKE_FOLLOWUP_KE"}
    opened = {f"{names[m.exchange]} {'response' if m.response else 'request'} {m.message_id}" for m in tap.messages}
    assert opened <= sent
    assert {text for text in sent if "INFORMATIONAL" not in text} <= opened


def starts(tap: Wiretap) -> dict[bool, Opened]:
    """The IKE_SA_INIT messages that count: the last of each direction (RFC 7296 2.15)."""
    return {m.initiator: m for m in tap.messages if m.exchange == IKE_SA_INIT}


def octets_of(tap: Wiretap, initiator: bool) -> bytes:
    """What that end's AUTH is computed over, from the packets alone."""
    sa, index = tap.ike_sas[0], 1 if any(tap.int_auth.values()) else 0
    keys = tap.derived[index]
    auth_id = next(m.message_id for m in tap.messages if m.exchange == IKE_AUTH)
    int_auth = tap.int_auth[True] + tap.int_auth[False] + auth_id.to_bytes(4, "big") if index else b""
    kind, sk_p, nonce = (IDI, keys.pi, sa.nonce_r) if initiator else (IDR, keys.pr, sa.nonce_i)
    identity = next(
        found
        for m in tap.messages
        if m.exchange == IKE_AUTH and m.initiator == initiator and (found := body(m.payloads, kind))
    )
    return signed_octets(starts(tap)[initiator].raw, nonce, sa.prf, sk_p, identity, int_auth)


def auths(tap: Wiretap, initiator: bool) -> list[tuple[int, bytes]]:
    found = [body(m.payloads, AUTH) for m in tap.messages if m.exchange == IKE_AUTH and m.initiator == initiator]
    return [(auth[0], auth[4:]) for auth in found if auth]


@each
@both
def test_the_signed_octets_are_those_of_both_ends(name: str, log: str) -> None:
    tap, entries = replayed(name, log)
    logged = set(entries.values("octets = message + nonce + prf(Sk_px, IDx') + IntAuth"))
    assert logged == {octets_of(tap, True), octets_of(tap, False)}


@pytest.mark.parametrize("name", [name for name in TRANSCRIPTS if "-psk-" in name])
def test_shared_key_auth_of_both_ends(name: str) -> None:
    tap, _ = replayed(name, LOGS[0])
    for initiator in (True, False):
        octets = octets_of(tap, initiator)
        assert auths(tap, initiator) == [(2, psk_auth(tap.ike_sas[0].prf, b"KAT-psk-0123456789", octets))]
        assert psk_auth(tap.ike_sas[0].prf, b"KAT-psk-0123456780", octets) != auths(tap, initiator)[0][1]


def test_eap_auth_with_the_msk_of_both_ends() -> None:
    """RFC 7296 2.16: the responder signs first, then both prove the EAP method's MSK."""
    tap, entries = replayed("31-eap-mschapv2", LOGS[0])
    msk = entries.values("secret")[0]
    assert len(msk) == 64
    prf = tap.ike_sas[0].prf
    assert auths(tap, True) == [(2, psk_auth(prf, msk, octets_of(tap, True)))]
    signature, proof = auths(tap, False)
    assert signature[0] == 14
    assert proof == (2, psk_auth(prf, msk, octets_of(tap, False)))


def certificate(tap: Wiretap, initiator: bool) -> x509.Certificate:
    found = next(
        cert
        for m in tap.messages
        if m.exchange == IKE_AUTH and m.initiator == initiator and (cert := body(m.payloads, CERT))
    )
    assert found[0] == 4
    return x509.load_der_x509_certificate(found[1:])


@pytest.mark.parametrize(
    ("name", "initiator"), [("21-cert-ecdsa256", True), ("21-cert-ecdsa256", False), ("31-eap-mschapv2", False)]
)
def test_ecdsa_auth(name: str, initiator: bool) -> None:
    """RFC 7427 3: one octet of length, the AlgorithmIdentifier, the signature."""
    tap, _ = replayed(name, LOGS[0])
    method, data = auths(tap, initiator)[0]
    assert method == 14
    identifier, signature = data[1 : 1 + data[0]], data[1 + data[0] :]
    assert identifier.hex() == "300a06082a8648ce3d040302"  # ecdsa-with-SHA256
    key = certificate(tap, initiator).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, octets_of(tap, initiator), ec.ECDSA(hashes.SHA256()))


@both
def test_int_auth_of_the_intermediate_exchange(log: str) -> None:
    """RFC 9242 3.3.2."""
    tap, entries = replayed("09-psk-mlkem768-rekey-child-and-ike", log)
    logged = [entry for entry in entries.entries if entry.get("label") == "IntAuth_A|P"]
    lengths = {entry["len"]: bytes.fromhex(entry["hex"]) for entry in logged}  # the log cuts long values short
    assert {len(octets): octets[: len(lengths[len(octets)])] for octets in tap.int_auth_octets} == lengths
    assert set(tap.int_auth.values()) == set(entries.values("IntAuth_N = prf(Sk_px, data)"))


CAPTURES = ("ikev2-decrypt-aes256cbc.pcapng", "ikev2-decrypt-aes256gcm16.pcap")


@pytest.mark.parametrize("name", CAPTURES)
def test_wiresharks_captures_open_with_their_keys(name: str) -> None:
    """The payloads within, and the AUTH data, are those that Wireshark decoded."""
    recorded = json.loads((vectors() / "wireshark" / "ikev2_decrypt.json").read_text())
    capture = next(c for c in recorded["captures"] if c["file"] == name)
    tap = Wiretap([b""])
    opened = 0
    for packet in capture["packets"]:
        tap.datagram(500, bytes.fromhex(packet["udp_payload"]))
        message = tap.messages[-1]
        if message.exchange == IKE_SA_INIT:
            if message.response:  # the captures come with their keys in place of the secret
                given = {name: bytes.fromhex(capture["key"].get(f"sk_{name}", "")) for name in ("ei", "er", "ai", "ar")}
                tap.rekey_with(**given)
            continue
        opened += 1
        assert [kind for kind, _ in message.payloads] == packet["inner_chain"]
        assert body(message.payloads, AUTH)[4:].hex() == packet["auth_data"]
        assert (body(message.payloads, SA) != b"") == (33 in packet["inner_chain"])
    assert opened == sum("inner_chain" in packet for packet in capture["packets"]) > 0


def test_the_keys_of_a_recording_cover_every_field() -> None:
    """The labels above name every key there is."""
    tap, _ = replayed("01-psk-x25519-aescbc128-sha256", LOGS[0])
    assert {f.name for f in fields(tap.derived[0])} == set(SK_LABELS)
    assert {f.name for f in fields(tap.children[0])} == set(CHILD_LABELS)
