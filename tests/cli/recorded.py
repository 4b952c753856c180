"""Turns a recorded negotiation into key files, written by the gateway's own key log."""

import json
from pathlib import Path

from gateway.crypto.keys import IkeKeys, child_keys
from gateway.ike.effects import KeysMade
from gateway.ike.plane import EspState
from gateway.service.keylog import KeyLog
from tests.crypto.wiretap import Chosen, IkeSa, Wiretap
from tests.vectors_root import vectors

INITIATOR, RESPONDER = "192.168.55.2", "192.168.55.1"


class KeyWriter(Wiretap):
    """A wiretap that logs every key it derives."""

    def __init__(self, secrets: list[bytes], log: KeyLog) -> None:
        super().__init__(secrets)
        self.log = log

    def _note(self, sa: IkeSa) -> None:
        super()._note(sa)
        integ = sa.chosen.integ.keyword if sa.chosen.integ else ""
        self.log.write(KeysMade(sa.spi_i, sa.spi_r, sa.chosen.cipher.keyword, integ, ike=sa.keys))

    def _child(self, offered: bytes, accepted: bytes, nonces: bytes, secrets: list[bytes]) -> None:
        super()._child(offered, accepted, nonces, secrets)
        sa, chosen, half = self.ike_sas[-1], Chosen.read(accepted), len(nonces) // 2
        keys = child_keys(sa.prf, sa.keys.d, nonces[:half], nonces[half:], chosen.cipher, chosen.integ, *secrets)
        states = tuple(
            EspState(int.from_bytes(spi), source, destination, inbound, 1, chosen.cipher, key, chosen.integ, mac)
            for spi, source, destination, inbound, key, mac in (
                (chosen.spi, INITIATOR, RESPONDER, False, keys.encr_i, keys.integ_i),
                (Chosen.read(offered).spi, RESPONDER, INITIATOR, True, keys.encr_r, keys.integ_r),
            )
        )
        self.log.write(KeysMade(sa.spi_i, sa.spi_r, "", "", states=states))


def transcript_keys(name: str, folder: Path) -> Path:
    """The pcap of a strongSwan transcript; its keys are written into `folder`, as by a running gateway."""
    root = vectors() / "strongswan-transcripts"
    recorded = json.loads((root / f"{name}.json").read_text())
    entries = recorded["initiator_log"]

    def values(label: str) -> list[bytes]:
        return [bytes.fromhex(entry["hex"]) for entry in entries if entry.get("label") == label]

    pairs = zip(values("key exchange secret"), values("additional key exchange secret"), strict=True)
    log = KeyLog(folder)
    tap = KeyWriter([secret for pair in pairs for secret in pair if secret], log)
    for packet in recorded["packets"]:
        tap.datagram(packet["sport"], bytes.fromhex(packet["udp_payload"]))
    log.close()
    return root / f"{name}.pcap"


def given_keys(capture: dict[str, dict[str, str]], encr: str, integ: str) -> KeysMade:
    """The key of one of Wireshark's captures, of which only the part that protects messages is known."""
    key = {name: bytes.fromhex(text) for name, text in capture["key"].items() if name not in ("encr", "integ")}
    ike = IkeKeys(b"", key["sk_ai"], key["sk_ar"], key["sk_ei"], key["sk_er"], b"", b"")
    return KeysMade(key["spi_i"], key["spi_r"], encr, integ, ike=ike)
