"""Reads key files in Wireshark's formats, `ikev2_decryption_table` and `esp_sa`, as we and strongSwan write them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.crypto.ciphers import Cipher, sealer
from gateway.crypto.rows import Encryption, Integrity
from gateway.crypto.suites import by_keyword
from gateway.service.keylog import ESP_ENCR, ESP_INTEG, IKE_ENCR, IKE_INTEG, OURS

_LONGEST_LINE = 4096
_IKE_NAMES = {name: keyword for table in (IKE_ENCR, IKE_INTEG) for keyword, name in table.items()}
_ESP_MACS = {name: keyword for keyword, name in ESP_INTEG.items()}
_UNCHECKED = "ANY "  # "ANY 96 bit authentication [no checking]": without its key we do not open what we cannot check
_ANY = "*"


class InvalidKeys(Exception):
    """A line of a key file makes no key; the text names file and line, never the key."""


@dataclass(frozen=True, slots=True)
class IkeKey:
    """The two directions of one IKE SA."""

    from_initiator: Cipher = field(repr=False)
    from_responder: Cipher = field(repr=False)


@dataclass(frozen=True, slots=True)
class EspKey:
    """One direction of a CHILD_SA; an address of "*" is any, `separate_mac` tells that the cipher is no AEAD."""

    source: str
    destination: str
    esn: bool
    separate_mac: bool
    cipher: Cipher = field(repr=False)

    def carries(self, source: str, destination: str) -> bool:
        return self.source in (_ANY, source) and self.destination in (_ANY, destination)


IkeKeys = dict[tuple[bytes, bytes], list[IkeKey]]  # several: each IKE_INTERMEDIATE changes them (RFC 9370 2.2.2)
EspKeys = dict[int, list[EspKey]]


def read_ike_keys(path: Path) -> IkeKeys:
    """Keys of IKE SAs by initiator's and responder's SPI. Raises InvalidKeys, OSError."""
    found: IkeKeys = {}
    for where, columns in _rows(path):
        try:
            if len(columns) < 8:
                raise ValueError("eight columns are due")
            if not columns[7].startswith(_UNCHECKED):
                spis = _octets(columns[0]), _octets(columns[1])
                found.setdefault(spis, []).append(_ike_key(columns))
        except ValueError as error:
            raise InvalidKeys(f"{where}: {error}") from None
    return found


def read_esp_keys(path: Path) -> EspKeys:
    """Keys of ESP by SPI. Raises InvalidKeys, OSError."""
    found: EspKeys = {}
    for where, columns in _rows(path):
        try:
            if len(columns) < 8:
                raise ValueError("eight columns are due")
            if not columns[6].startswith(_UNCHECKED):
                found.setdefault(int.from_bytes(_octets(columns[3])), []).append(_esp_key(columns))
        except ValueError as error:
            raise InvalidKeys(f"{where}: {error}") from None
    return found


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(where, columns) of each line that is no comment."""
    with path.open(encoding="utf-8", errors="replace") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > _LONGEST_LINE:
                raise InvalidKeys(f"{where}: longer than any key")
            line = line.removeprefix(OURS).strip()
            if not line or line.startswith("#"):
                continue
            try:
                yield where, next(csv.reader([line], strict=True, skipinitialspace=True))
            except csv.Error as error:
                raise InvalidKeys(f"{where}: {error}") from None


def _ike_key(columns: list[str]) -> IkeKey:
    ei, er, ai, ar = (_octets(columns[index]) for index in (2, 3, 5, 6))
    encr = by_keyword(_IKE_NAMES.get(columns[4], columns[4]))
    if not isinstance(encr, Encryption):
        raise ValueError(f"we have no cipher {columns[4]!r}")
    integ = _integrity(columns[7], _IKE_NAMES)
    return IkeKey(sealer(encr, ei, integ, ai), sealer(encr, er, integ, ar))


def _esp_key(columns: list[str]) -> EspKey:
    key, mac = _octets(columns[5]), _octets(columns[7])
    encr = _esp_cipher(columns[4], len(key))
    integ = None if encr.aead else _integrity(columns[6], _ESP_MACS)
    esn = len(columns) > 8 and columns[8] == "64-bit"
    return EspKey(columns[1], columns[2], esn, integ is not None, sealer(encr, key, integ, mac))


def _esp_cipher(name: str, octets: int) -> Encryption:
    """Wireshark's names do not tell the key length: the key does."""
    names = {entry: keyword for keyword, entry in ESP_ENCR.items()}
    keyword = name
    if name in names:
        family = by_keyword(names[name])
        assert isinstance(family, Encryption)
        keyword = family.keyword.replace(str(8 * family.key_octets), str(8 * (octets - family.salt_octets)), 1)
    elif name.startswith("ChaCha20 with Poly1305 ["):  # newer than release 4.0
        keyword = "chacha20poly1305"
    found = by_keyword(keyword)
    if not isinstance(found, Encryption):
        raise ValueError(f"we have no cipher {name!r} with a key of {octets} octets")
    return found


def _integrity(name: str, names: dict[str, str]) -> Integrity | None:
    keyword = names.get(name, name)
    if not keyword:
        return None
    found = by_keyword(keyword)
    if not isinstance(found, Integrity):
        raise ValueError(f"we have no integrity algorithm {name!r}")
    return found


def _octets(text: str) -> bytes:
    text = text.strip().removeprefix("0x")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("a key or an SPI is not hexadecimal") from None
