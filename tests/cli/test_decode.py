"""`ikegate decode` on real negotiations with their keys, and on what hostile hands make of captures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.crypto.ciphers import sealer
from gateway.crypto.suites import Encryption, Integrity, by_keyword
from gateway.dataplane.esp import OutboundEsp
from gateway.ike.effects import KeysMade
from gateway.ike.plane import EspState
from gateway.service.keylog import ESP_TABLE, IKE_TABLE, KeyLog
from tests.cli.captures import RAW, ipv4, ipv6, pcap, pcapng, udp
from tests.cli.recorded import given_keys, transcript_keys
from tests.vectors_root import vectors

# Name -> IKE messages in the capture (fragments count one by one), ESP packets.
TRANSCRIPTS = {
    "01-psk-x25519-aescbc128-sha256": (8, 2),
    "03-psk-ecp256-aes256gcm16-prfsha384": (8, 4),
    "09-psk-mlkem768-rekey-child-and-ike": (27, 4),
    "17-psk-wrong-ke-guess": (8, 4),
    "21-cert-ecdsa256": (8, 4),
    "31-eap-mschapv2": (14, 2),
}


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["decode", *map(str, words)], catch_exceptions=False)


def documents(*words: str | Path) -> list[dict[str, Any]]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_strongswans_negotiations_open_with_the_key_log(name: str, tmp_path: Path) -> None:
    capture = transcript_keys(name, tmp_path)
    found = documents(capture, "--keys", tmp_path / IKE_TABLE, "--esp-keys", tmp_path / ESP_TABLE)
    ike = [one for one in found if one["kind"] == "ike"]
    esp = [one for one in found if one["kind"] == "esp"]
    assert (len(ike), len(esp)) == TRANSCRIPTS[name]
    sealed = [
        one for one in ike if one["message"]["payloads"][-1:] and "SK" in one["message"]["payloads"][-1]["payload"]
    ]
    notes = [one.get("note", "") for one in sealed if "inside" not in one["message"]]
    assert all(re.fullmatch(r"fragment \d of \d", note) for note in notes), notes
    assert all(
        re.fullmatch(r"10\.\d\.0\.1 > 10\.\d\.0\.1 ICMP echo re\w+ \d, 64 octets", one["esp"]["inner"]) for one in esp
    )
    assert [one for one in found if one["kind"] == "malformed"] == []
    identities = {
        p["identity"] for one in sealed for p in one["message"].get("inside", ()) if p["payload"] in ("IDi", "IDr")
    }
    assert len(identities) >= 2


@pytest.mark.parametrize(
    ("name", "encr", "integ"),
    [("ikev2-decrypt-aes256cbc.pcapng", "aes256", "sha256"), ("ikev2-decrypt-aes256gcm16.pcap", "aes256gcm16", "")],
)
def test_wiresharks_captures_open_as_wireshark_opens_them(name: str, encr: str, integ: str, tmp_path: Path) -> None:
    index = json.loads((vectors() / "wireshark" / "ikev2_decrypt.json").read_text())
    capture = next(one for one in index["captures"] if one["file"] == name)
    log = KeyLog(tmp_path)
    log.write(given_keys(capture, encr, integ))
    log.close()
    found = documents(vectors() / "wireshark" / name, "--keys", tmp_path / IKE_TABLE, "--secrets")
    assert len(found) == len(capture["packets"])
    for one, packet in zip(found, capture["packets"], strict=True):
        message = one["message"]
        assert (one["source"], message["message_id"]) == (
            f"{packet['src']}:{packet['sport']}",
            int(packet["msgid"], 16),
        )
        auth = [payload["data"] for payload in message.get("inside", ()) if payload["payload"] == "AUTH"]
        assert auth == ([packet["auth_data"]] if packet["auth_data"] else [])
        assert len(message.get("inside", ())) == len(packet.get("inner_chain", ()))


def test_the_ladder_reads_well(tmp_path: Path) -> None:
    capture = transcript_keys("03-psk-ecp256-aes256gcm16-prfsha384", tmp_path)
    done = run(capture, "--keys", tmp_path / IKE_TABLE, "--esp-keys", tmp_path / ESP_TABLE)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1] == (
        "    1    0.000000  192.168.55.2:500 --> 192.168.55.1:500  IKE_SA_INIT request 0 by the initiator, 264 octets"
    )
    assert any("192.168.55.2:500 <-- 192.168.55.1:500  IKE_SA_INIT response 0" in line for line in lines)
    assert "          1 IKE: ENCR_AES_GCM_16 256, PRF_HMAC_SHA2_384, KE ECP_256" in lines
    assert "          TSr 10.1.0.0-10.1.255.255" in lines or any("TSr 10." in line for line in lines)
    assert any(re.search(r"ESP [0-9a-f]{8} number 1, 120 octets", line) for line in lines)
    assert any("10.3.0.1 > 10.1.0.1 ICMP echo request 1" in line for line in lines)
    assert lines[-1].startswith("Passed over: 4 other protocols")  # the ping outside the tunnel's packets
    auth = next(line for line in lines if line.strip().startswith("AUTH"))
    assert re.search(r"AUTH SHARED_KEY_MESSAGE_INTEGRITY_CODE \d+ octets$", auth)


def test_without_keys_what_is_sealed_says_so(tmp_path: Path) -> None:
    capture = transcript_keys("01-psk-x25519-aescbc128-sha256", tmp_path)
    notes = {one.get("note") for one in documents(capture) if one["kind"] == "ike"}
    assert notes == {None, "encrypted"}
    other = tmp_path / "other"
    other.mkdir()
    transcript_keys("21-cert-ecdsa256", other)
    found = documents(capture, "--keys", other / IKE_TABLE)
    assert {one.get("note") for one in found if one["kind"] == "ike"} == {
        None,
        "encrypted; there is no key for this IKE SA",
    }


def test_a_forged_message_does_not_open(tmp_path: Path) -> None:
    capture = transcript_keys("01-psk-x25519-aescbc128-sha256", tmp_path)
    data = bytearray(capture.read_bytes())
    second = data.index(bytes.fromhex("2e202308"))  # the flags and exchange of IKE_AUTH's request
    data[second + 40] ^= 1
    changed = tmp_path / "changed.pcap"
    changed.write_bytes(data)
    notes = [one.get("note") for one in documents(changed, "--keys", tmp_path / IKE_TABLE) if one["kind"] == "ike"]
    assert notes.count("does not open with the key of this IKE SA") == 1


def esp_state(encr: str, integ: str, *, esn: bool) -> EspState:
    cipher, mac = by_keyword(encr), by_keyword(integ) if integ else None
    assert isinstance(cipher, Encryption)
    assert mac is None or isinstance(mac, Integrity)
    keys = b"k" * cipher.key_material_octets, b"m" * (mac.key_octets if mac else 0)
    return EspState(0x1234, "192.0.2.1", "192.0.2.2", True, 1, cipher, keys[0], mac, keys[1], esn=esn)


@pytest.mark.parametrize(
    ("encr", "integ"),
    [
        ("aes128gcm8", ""),
        ("aes192gcm16", ""),
        ("chacha20poly1305", ""),
        ("aes256ccm12", ""),
        ("aes256", "sha512"),
        ("aes128ctr", "aesxcbc"),
        ("aes192", "sha1"),
    ],
)
@pytest.mark.parametrize("esn", [False, True])
def test_esp_of_every_kind_in_udp_and_alone(encr: str, integ: str, esn: bool, tmp_path: Path) -> None:
    state = esp_state(encr, integ, esn=esn)
    log = KeyLog(tmp_path)
    log.write(KeysMade(b"", b"", "", "", states=(state,)))
    log.close()
    sender = OutboundEsp(state)
    inner = ipv4(udp(b"x" * 30, 1024, 53))
    sealed = [sender.seal(inner, 4)]
    if esn:  # over the wrap of the low half
        sender.sequence = (1 << 32) - 2
        sealed += [sender.seal(inner, 4), sender.seal(inner, 4), sender.seal(ipv6(udp(b"")), 41)]
    sealed.append(sender.seal(b"", 59))
    capture = tmp_path / "esp.pcap"
    capture.write_bytes(pcap(RAW, [ipv4(udp(sealed[0], 4500, 31337)), *(ipv4(esp, 50) for esp in sealed[1:])]))
    found = documents(capture, "--esp-keys", tmp_path / ESP_TABLE)
    assert [one["kind"] for one in found] == ["esp"] * len(sealed)
    numbers = [one["esp"]["sequence"] for one in found]
    wrap = 1 << 32
    assert numbers == ([1, wrap - 1, wrap, wrap + 1, wrap + 2] if esn else [1, 2])
    assert found[0]["esp"]["inner"] == "192.0.2.1:1024 > 192.0.2.2:53 UDP, 38 octets"
    assert found[-1]["note"] == "a dummy packet"


def test_markers_keepalives_and_other_ports(tmp_path: Path) -> None:
    ike = bytes(range(1, 9)) + bytes(8) + bytes.fromhex("00202208000000000000001c")
    packets = [
        ipv4(udp(bytes(4) + ike, 4500, 4500)),
        ipv6(udp(b"\xff", 4500, 1)),
        ipv4(udp(ike, 5000, 6000)),
        ipv4(udp(bytes(4) + ike, 6000, 5000)),
        ipv4(udp(b"dns", 53, 53)),
        ipv4(udp(b"ab", 500, 500)),
        ipv4(udp(b"abc", 4500, 4500)),
        ipv4(b"abc", 50),
        ipv4(b"tcp", 6),
        ipv4(udp(b"abc" * 99, 500, 500))[:60],
    ]
    capture = tmp_path / "mixed.pcapng"
    capture.write_bytes(pcapng(RAW, packets))
    kinds = [(one["number"], one["kind"]) for one in documents(capture, "--port", "5000")]
    assert kinds == [
        (1, "ike"),
        (2, "keepalive"),
        (3, "ike"),
        (4, "ike"),
        (6, "malformed"),
        (7, "malformed"),
        (8, "malformed"),
        (10, "malformed"),
    ]
    text = run(capture)
    assert "malformed: 2 octets are no IKE header" in text.stdout
    assert "[2001:db8::1]:4500 --> [2001:db8::2]:1  NAT keepalive" in text.stdout
    assert "malformed: cut off by the capture's snap length" in text.stdout
    assert "Passed over: 3 UDP on other ports, 1 other protocols." in text.stdout


def test_errors_are_sentences(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(pcap(RAW, [ipv4(udp(b"x" * 40))])[:-1])
    done = run(broken)
    assert (done.exit_code, done.stderr) == (1, f"Error: {broken}: the file ends inside packet 1\n")
    keys = tmp_path / "keys"
    keys.write_text("nonsense\n")
    assert "line 1: eight columns are due" in run(broken, "--keys", keys).stderr
    assert run(tmp_path / "absent").exit_code == 2


def test_standard_input_is_read_too() -> None:
    done = CliRunner().invoke(main, ["decode", "-"], input=pcap(RAW, [ipv4(udp(b"\xff", 4500, 4500))]))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "standard input, times from 2023-11-14 22:13:20 UTC"
    assert run("-", "--keys", "-").exit_code == 2


def test_a_peers_text_cannot_steer_the_terminal(tmp_path: Path) -> None:
    vendor = b"\x1b[2J\x07\xe2\x80\xae evil"
    body = bytes((43, 0)) + (4 + len(vendor)).to_bytes(2) + vendor
    notify = bytes((0, 0)) + (8 + 3).to_bytes(2) + bytes((0, 0, 0x40, 0x02)) + b"\x1b]0"
    ike = bytes(range(8)) + bytes(8) + bytes((43, 0x20, 34, 8)) + bytes(4)
    body = bytes((41,)) + body[1:]
    ike += (28 + len(body) + len(notify)).to_bytes(4) + body + notify
    capture = tmp_path / "evil.pcap"
    capture.write_bytes(pcap(RAW, [ipv4(udp(ike))]))
    for done in (run(capture), run(capture, "--json")):
        assert done.exit_code == 0
        assert "VendorId" in done.stdout
        assert all(char.isprintable() or char == "\n" for char in done.stdout)


IKE = bytes(range(1, 9)) + bytes(8)
datagrams = st.one_of(
    st.binary(max_size=120),
    st.tuples(st.sampled_from(range(56)), st.integers(34, 37), st.binary(max_size=120)).map(
        lambda parts: (
            IKE + bytes((parts[0], 0x20, parts[1], 8)) + bytes(4) + (28 + len(parts[2])).to_bytes(4) + parts[2]
        )
    ),
)


@given(
    packets=st.lists(st.tuples(datagrams, st.sampled_from([500, 4500, 9])), max_size=6),
    new=st.booleans(),
    cut=st.integers(0, 99),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_captures_never_end_in_a_traceback(
    packets: list[tuple[bytes, int]], new: bool, cut: int, tmp_path: Path
) -> None:
    write = pcapng if new else pcap
    data = write(RAW, [ipv4(udp(payload, 1, port)) for payload, port in packets])
    capture = tmp_path / "hostile"
    capture.write_bytes(data[: len(data) - cut] if cut < 50 else data)
    for words in ((), ("--json",)):
        done = run(capture, *words)
        assert done.exit_code in (0, 1)
        assert "Traceback" not in done.output


@given(plain=st.binary(max_size=80), encr=st.sampled_from(["aes256gcm16", "aes128", "aes128ctr", "chacha20poly1305"]))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_genuine_messages_with_hostile_insides_are_told(plain: bytes, encr: str, tmp_path: Path) -> None:
    """What the right key opens may still be anything."""
    cipher = by_keyword(encr)
    integ = None if cipher is None or getattr(cipher, "aead", False) else by_keyword("sha256")
    assert isinstance(cipher, Encryption)
    assert integ is None or isinstance(integ, Integrity)
    key, mac = "11" * cipher.key_material_octets, "22" * (integ.key_octets if integ else 0)
    keyed = sealer(cipher, bytes.fromhex(key), integ, bytes.fromhex(mac))
    plain += bytes(-len(plain) % cipher.block_octets)
    octets = 28 + 4 + cipher.iv_octets + len(plain) + keyed.icv_octets
    header = IKE + bytes((46, 0x20, 37, 8)) + bytes(4) + octets.to_bytes(4) + bytes((41, 0)) + (octets - 28).to_bytes(2)
    iv = bytes(cipher.iv_octets)
    capture, keys = tmp_path / "sealed.pcap", tmp_path / "keys"
    capture.write_bytes(pcap(RAW, [ipv4(udp(header + iv + keyed.seal(iv, header, plain)))]))
    spis = f"{IKE[:8].hex()},{IKE[8:].hex()}"
    keys.write_text(f'{spis},{key},{key},"{encr}",{mac},{mac},"{integ.keyword if integ else ""}"\n')
    (found,) = documents(capture, "--keys", keys)
    assert "inside" in found["message"] or found["note"].startswith("malformed inside: ")
