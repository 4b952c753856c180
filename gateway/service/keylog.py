"""The optional key log, in the formats that Wireshark reads: off by default, and loud when on.

Its folder serves as Wireshark's configuration folder (`WIRESHARK_CONFIG_DIR`). Wireshark knows one set of keys for the
SPIs of an IKE SA, and the one that it keeps is in the table; each IKE_INTERMEDIATE that made these keys (RFC 9370) was
under others, which are in the table of a configuration profile of its own: `profiles/intermediate-1` for message ID 1.

What Wireshark has no name or no place for follows `#ikegate ` in the same columns: Wireshark skips that line as a
comment, where a name unknown to it would cost the whole table, and `ikegate decode` reads it.
"""

import os
from pathlib import Path
from typing import TextIO

from gateway.crypto.keys import IkeKeys
from gateway.crypto.rows import Encryption
from gateway.crypto.suites import ENCRYPTIONS
from gateway.ike.effects import KeysMade
from gateway.ike.plane import EspState

IKE_TABLE = "ikev2_decryption_table"
ESP_TABLE = "esp_sa"
OURS = "#ikegate "

_IKE_TAIL = {"GCM": "[RFC5282]", "CCM": "[RFC5282]", "CBC": "[RFC3602]", "CTR": "[RFC5930]"}
_ANY_96_IKE = "ANY 96-bits of Authentication [No Checking]"
_ANY_96_ESP = "ANY 96 bit authentication [no checking]"


def _ike_name(row: Encryption) -> str:
    _, _, mode, *icv = row.name.split("_")  # ENCR_AES_GCM_16
    tag = f" with {icv[0]} octet ICV" if icv else ""
    return f"AES-{mode}-{8 * row.key_octets}{tag} {_IKE_TAIL[mode]}"


def _esp_name(row: Encryption) -> str:
    _, _, mode, *icv = row.name.split("_")
    if icv:
        return f"AES-{mode} with {icv[0]} octet ICV [RFC4106]"
    return "AES-CBC [RFC3602]" if mode == "CBC" else "AES-CTR [RFC3686]"


# Keyword -> name, as in Wireshark's packet-isakmp.c and packet-ipsec.c of release 4.0.
IKE_ENCR = {row.keyword: _ike_name(row) for row in ENCRYPTIONS if "_AES_" in row.name}
IKE_INTEG = {
    "": "NONE [RFC4306]",
    "sha1": "HMAC_SHA1_96 [RFC2404]",
    "sha256": "HMAC_SHA2_256_128 [RFC4868]",
    "sha384": "HMAC_SHA2_384_192 [RFC4868]",
    "sha512": "HMAC_SHA2_512_256 [RFC4868]",
}
ESP_ENCR = {row.keyword: _esp_name(row) for row in ENCRYPTIONS if "_AES_" in row.name and "_CCM_" not in row.name}
ESP_INTEG = {
    "": "NULL",
    "sha1": "HMAC-SHA-1-96 [RFC2404]",
    "sha256": "HMAC-SHA-256-128 [RFC4868]",
    "sha384": "HMAC-SHA-384-192 [RFC4868]",
    "sha512": "HMAC-SHA-512-256 [RFC4868]",
}


class KeyLog:
    """Appends to `ikev2_decryption_table` and `esp_sa` in a folder that only we may read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._ike, self._esp = _private(folder / IKE_TABLE), _private(folder / ESP_TABLE)
        self._intermediate: dict[int, TextIO] = {}

    def write(self, made: KeysMade) -> None:
        if made.ike is not None:
            _append(self._ike, ike_lines(made))
            if made.intermediate and made.encr in IKE_ENCR:
                _append(self._profile(made.intermediate), [_wireshark_ike_line(made, made.ike)])
        for state in made.states:
            _append(self._esp, esp_lines(state))

    def _profile(self, message_id: int) -> TextIO:
        if message_id not in self._intermediate:
            folder = self.folder / "profiles" / f"intermediate-{message_id}"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._intermediate[message_id] = _private(folder / IKE_TABLE)
        return self._intermediate[message_id]

    def close(self) -> None:
        for table in (self._ike, self._esp, *self._intermediate.values()):
            table.close()


def _append(table: TextIO, lines: list[str]) -> None:
    table.writelines(line + "\n" for line in lines)
    table.flush()


def _private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="ascii")


def ike_lines(made: KeysMade) -> list[str]:
    """SPIi,SPIr,SK_ei,SK_er,"encryption",SK_ai,SK_ar,"integrity".

    Wireshark's line, if it has a name for the cipher and these are the keys that the IKE SA keeps; and ours, if
    Wireshark's would not tell all.
    """
    keys = made.ike
    if keys is None:
        return []
    theirs = made.encr in IKE_ENCR and not made.intermediate
    lines = [_wireshark_ike_line(made, keys)] if theirs else []
    if not theirs or made.integ not in IKE_INTEG:
        lines.append(f'{OURS}{_ike_start(made, keys)},"{made.encr}",{keys.ai.hex()},{keys.ar.hex()},"{made.integ}"')
    return lines


def _ike_start(made: KeysMade, keys: IkeKeys) -> str:
    return f"{made.spi_i.hex()},{made.spi_r.hex()},{keys.ei.hex()},{keys.er.hex()}"


def _wireshark_ike_line(made: KeysMade, keys: IkeKeys) -> str:
    start, integ = f'{_ike_start(made, keys)},"{IKE_ENCR[made.encr]}"', IKE_INTEG.get(made.integ)
    if integ:
        return f'{start},{keys.ai.hex()},{keys.ar.hex()},"{integ}"'
    # a MAC without a name is told by its length, and then not checked: Wireshark wants no key for it
    return f'{start},,,"{_ANY_96_IKE}"'


def esp_lines(state: EspState) -> list[str]:
    """Protocol, source, destination, SPI, encryption, key, authentication, key: Wireshark's line, ours, or both.

    With extended sequence numbers two columns more, which Wireshark has since 4.2 and earlier ones discard.
    """
    keyword = state.integ.keyword if state.integ else ""
    encr, integ = ESP_ENCR.get(state.encr.keyword), ESP_INTEG.get(keyword)
    lines = []
    if encr:
        lines.append(_esp_line(state, encr, integ or _ANY_96_ESP))
    if not (encr and integ):
        lines.append(OURS + _esp_line(state, state.encr.keyword, keyword))
    return lines


def _esp_line(state: EspState, encr: str, integ: str) -> str:
    family = "IPv6" if ":" in state.source else "IPv4"
    mac = f"0x{state.integ_key.hex()}" if state.integ_key else ""
    ends = [family, state.source, state.destination, f"0x{state.spi:08x}"]
    extended = ["64-bit", "0"] if state.esn else []
    return ",".join(f'"{text}"' for text in [*ends, encr, f"0x{state.encr_key.hex()}", integ, mac, *extended])
