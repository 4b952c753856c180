"""The key log: Wireshark loads every line of it and opens real captures with it, and so do we."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli.keyfiles import InvalidKeys, read_esp_keys, read_ike_keys
from gateway.crypto.keys import IkeKeys
from gateway.crypto.rows import Encryption, Integrity
from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES
from gateway.ike.effects import KeysMade
from gateway.ike.plane import EspState
from gateway.service.keylog import ESP_TABLE, IKE_TABLE, OURS, KeyLog
from tests.cli.recorded import given_keys, transcript_keys
from tests.lab.tshark import ESP_OPTIONS, tshark
from tests.vectors_root import vectors

PAIRS = [
    (encr, integ)
    for encr in ENCRYPTIONS
    for integ in ([None] if encr.aead else INTEGRITIES)
]  # fmt: skip
needs_tshark = pytest.mark.requires("tshark")


def ike_made(number: int, encr: Encryption, integ: Integrity | None) -> KeysMade:
    key, mac = bytes([number]) * encr.key_material_octets, bytes([number]) * (integ.key_octets if integ else 0)
    keys = IkeKeys(b"d", mac, mac, key, key, b"p", b"p")
    return KeysMade(bytes([number]) * 8, b"r" * 8, encr.keyword, integ.keyword if integ else "", ike=keys)


def esp_state(number: int, encr: Encryption, integ: Integrity | None, *, esn: bool, version: int = 4) -> EspState:
    ends = ("192.0.2.1", "192.0.2.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    key, mac = bytes([number]) * encr.key_material_octets, bytes([number]) * (integ.key_octets if integ else 0)
    return EspState(0x1000 + number, *ends, True, 1, encr, key, integ, mac, esn=esn)


def write_every_algorithm(folder: Path) -> None:
    log = KeyLog(folder)
    for number, pair in enumerate(PAIRS):
        log.write(ike_made(number, *pair))
        states = tuple(esp_state(number, *pair, esn=esn, version=v) for esn in (False, True) for v in (4, 6))
        log.write(KeysMade(b"", b"", "", "", states=states))
    log.close()


def test_only_we_may_read_it(tmp_path: Path) -> None:
    write_every_algorithm(tmp_path / "keys")
    for path in (tmp_path / "keys", tmp_path / "keys" / IKE_TABLE, tmp_path / "keys" / ESP_TABLE):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_we_read_back_what_we_write(tmp_path: Path) -> None:
    write_every_algorithm(tmp_path)
    ike, esp = read_ike_keys(tmp_path / IKE_TABLE), read_esp_keys(tmp_path / ESP_TABLE)
    assert len(ike) == len(esp) == len(PAIRS)
    for number, (encr, integ) in enumerate(PAIRS):
        ciphers = [ike[bytes([number]) * 8, b"r" * 8][0].from_initiator]
        ciphers += [key.cipher for key in esp[0x1000 + number]]
        assert len(ciphers) == 5
        icv = integ.icv_octets if integ else encr.icv_octets
        assert {(one.iv_octets, one.icv_octets, one.block_octets) for one in ciphers} == {
            (encr.iv_octets, icv, encr.block_octets)
        }


def test_keys_of_before_the_last_key_exchange_have_a_table_of_their_own(tmp_path: Path) -> None:
    log = KeyLog(tmp_path)
    encr, integ = PAIRS[0]
    for number, intermediate in enumerate((1, 2, 0)):  # x25519, then two additional key exchanges
        log.write(replace(ike_made(number, encr, integ), spi_i=b"i" * 8, intermediate=intermediate))
    log.close()
    kept = [line for line in (tmp_path / IKE_TABLE).read_text().splitlines() if not line.startswith(OURS)]
    assert len(kept) == 1 and "0202" in kept[0]
    assert len(read_ike_keys(tmp_path / IKE_TABLE)[b"i" * 8, b"r" * 8]) == 3
    for number in (1, 2):
        folder = tmp_path / "profiles" / f"intermediate-{number}"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (line,) = (folder / IKE_TABLE).read_text().splitlines()
        assert f"{number - 1:02}" * 8 in line


@needs_tshark
def test_wireshark_loads_every_line(tmp_path: Path) -> None:
    capture = vectors() / "wireshark" / "ikev2-decrypt-aes256gcm16.pcap"
    folder = tmp_path / "keys"
    write_every_algorithm(folder)
    done = tshark(capture, folder, "-c", "1")
    assert done.returncode == 0
    complaints = [line for line in done.stderr.splitlines() if "rror" in line or "invalid" in line]
    assert complaints == []
    warned = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert all("More fields than required" in line and "64-bit" in line for line in warned)  # before release 4.2
    with (folder / ESP_TABLE).open("a") as table:  # a line that it does not know is noticed: the test can fail
        table.write('"IPv4","1.1.1.1","1.1.1.2","0x1","NO-SUCH-CIPHER","0x00","NULL",""\n')
    assert "NO-SUCH-CIPHER" in tshark(capture, folder, "-c", "1").stderr


def test_what_wireshark_cannot_name_is_a_comment(tmp_path: Path) -> None:
    write_every_algorithm(tmp_path)
    lines = (tmp_path / IKE_TABLE).read_text().splitlines()
    assert sum(line.startswith(OURS) for line in lines) == 1 + 2 * 6  # ChaCha20, and two MACs with six ciphers
    assert sum("ANY 96" in line for line in lines) == 2 * 6


@needs_tshark
@pytest.mark.parametrize(
    "name", ["01-psk-x25519-aescbc128-sha256", "03-psk-ecp256-aes256gcm16-prfsha384", "21-cert-ecdsa256"]
)
def test_wireshark_opens_strongswans_negotiations_with_our_lines(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    capture = transcript_keys(name, folder)
    shown = tshark(capture, folder, "-V", *ESP_OPTIONS, "-o", "udp.check_checksum:FALSE").stdout
    assert len(re.findall(r"Payload: Authentication \(39\)", shown)) == 2
    esp = shown.count("Encapsulating Security Payload")
    assert esp == shown.count("ESP Pad Length") > 0


@needs_tshark
@pytest.mark.parametrize(
    ("name", "encr", "integ"),
    [
        ("ikev2-decrypt-aes256cbc.pcapng", "aes256", "sha256"),
        ("ikev2-decrypt-aes256gcm16.pcap", "aes256gcm16", ""),
    ],
)
def test_wireshark_opens_its_own_captures_with_our_lines(name: str, encr: str, integ: str, tmp_path: Path) -> None:
    index = json.loads((vectors() / "wireshark" / "ikev2_decrypt.json").read_text())
    capture = next(one for one in index["captures"] if one["file"] == name)
    folder = tmp_path / "keys"
    log = KeyLog(folder)
    log.write(given_keys(capture, encr, integ))
    log.close()
    shown = tshark(vectors() / "wireshark" / name, folder, "-T", "fields", "-e", "isakmp.auth.data").stdout
    assert [line for line in shown.split() if line] == [p["auth_data"] for p in capture["packets"] if p["auth_data"]]


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "00,11,22,33",
        '00,11,zz,33,"AES-CBC-128 [RFC3602]",,,"NONE [RFC4306]"',
        '00,11,2233,33,"AES-CBC-128 [RFC3602]",,,"HMAC_SHA1_96 [RFC2404]"',
        '00,11,22,33,"3DES [RFC2451]",,,"HMAC_SHA1_96 [RFC2404]"',
        '00,11,22,33,"AES-CBC-128 [RFC3602]',
        "y" * 5000,
    ],
)
def test_a_bad_line_is_named_and_no_key_shown(line: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# a comment\n{line}\n")
    for read in (read_ike_keys, read_esp_keys):
        with pytest.raises(InvalidKeys, match="line 2") as caught:
            read(path)
        assert "2233" not in str(caught.value)
