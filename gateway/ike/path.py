"""Where two ends of an IKE SA talk, and what stands between them."""

import hashlib
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

IKE_PORT = 500
NAT_PORT = 4500


class Path(NamedTuple):
    """Our address, the peer's address and port, and whether datagrams carry the non-ESP marker (RFC 3948 2.2)."""

    local: str
    remote: str
    port: int = IKE_PORT
    marked: bool = False

    @property
    def text(self) -> str:
        host = f"[{self.remote}]" if ":" in self.remote else self.remote
        return f"{host}:{self.port}"

    @property
    def version(self) -> int:
        return 6 if ":" in self.remote else 4

    def moved_to_nat_port(self, port: int = NAT_PORT) -> "Path":
        """The same two ends on the port for NAT traversal (RFC 7296 2.23)."""
        return Path(self.local, self.remote, port, marked=True)


@dataclass(frozen=True, slots=True)
class Nat:
    """What the hashes of RFC 7296 2.23 showed; `supported` means that the peer sent them at all."""

    supported: bool = False
    here: bool = False
    there: bool = False

    @property
    def found(self) -> bool:
        return self.here or self.there

    @property
    def text(self) -> str:
        if not self.supported:
            return "unknown: the peer does not detect NAT"
        ends = [end for end, behind in (("us", self.here), ("the peer", self.there)) if behind]
        return "NAT in front of " + " and ".join(ends) if ends else "none"


NO_NAT = Nat()


def nat_hash(spi_i: bytes, spi_r: bytes, address: str, port: int) -> bytes:
    """SHA-1 over both SPIs, an address and a port (RFC 7296 2.23); a label, not a protection."""
    return hashlib.sha1(spi_i + spi_r + _packed(address) + port.to_bytes(2), usedforsecurity=False).digest()


@lru_cache(1024)
def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed
