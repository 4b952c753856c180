"""Datagrams recorded from many implementations, and from tools that break them on purpose."""

import json
import tarfile
from dataclasses import dataclass
from functools import cache

from tests.vectors_root import vectors


@dataclass(frozen=True)
class Datagram:
    """What UDP carried, without a non-ESP marker; `major` is the IKE version that the capture's index names."""

    name: str
    kind: str
    major: int | None
    octets: bytes


@cache
def recorded() -> tuple[Datagram, ...]:
    """All payloads of UDP 500 and 4500 in the archive of captures."""
    with tarfile.open(vectors() / "ike_payloads.tar.gz") as archive:
        files = {
            member.name.rsplit("/", 1)[-1]: taken.read()
            for member in archive.getmembers()
            if (taken := archive.extractfile(member))
        }
    found = []
    for entry in json.loads(files["INDEX.json"]):
        octets = files[entry["file"]]
        on_nat_port = 4500 in (int(entry["sport"]), int(entry["dport"]))
        if on_nat_port and octets[:4] == bytes(4):  # RFC 3948 2.2
            octets = octets[4:]
        found.append(Datagram(f"{entry['capture']}#{entry['frame']}", entry["kind"], entry["ike_major"], octets))
    return tuple(found)


def transcript(name: str) -> list[bytes]:
    """The IKE datagrams of one recorded strongSwan session, ESP and keepalives left out."""
    packets = json.loads((vectors() / "strongswan-transcripts" / f"{name}.json").read_text())["packets"]
    found = []
    for packet in packets:
        octets = bytes.fromhex(packet["udp_payload"])
        if 4500 in (packet["sport"], packet["dport"]):
            if octets[:4] != bytes(4):
                continue
            octets = octets[4:]
        found.append(octets)
    return found
