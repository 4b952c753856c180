"""The proposals that a new gateway begins with, and the policies that they make."""

from dataclasses import dataclass

from gateway.storage.objects import SETTINGS, Inventory
from gateway.storage.peers import ProposalObject

# An elliptic curve and ML-KEM together first (RFC 9370); a peer without it skips that suite. The rekey of a CHILD_SA
# adds a classical key exchange to keys that are hybrid.
HYBRID_IKE = (
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384-ecp256-ke1_mlkem768-ke1_mlkem1024",
    "chacha20poly1305-prfsha384-prfsha256-x25519-ecp384-ecp256-ke1_mlkem768-ke1_mlkem1024",
)
MODERN_IKE = (
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384-ecp256",
    "chacha20poly1305-prfsha384-prfsha256-x25519-ecp384-ecp256",
)
MODERN_PQ_IKE = (*HYBRID_IKE, *MODERN_IKE)
# With a key exchange of its own first (perfect forward secrecy when a CHILD_SA is rekeyed), then without, for peers
# that are configured so; 32-bit sequence numbers first, which every peer has.
_MODERN_ESP = (
    "aes256gcm16-aes128gcm16-x25519-ecp384-ecp256-noesn-esn",
    "aes256gcm16-aes128gcm16-noesn-esn",
    "chacha20poly1305-x25519-ecp384-ecp256-noesn-esn",
    "chacha20poly1305-noesn-esn",
)
_COMPATIBLE_IKE = (
    *MODERN_PQ_IKE,
    "aes256-aes128-sha256-sha384-sha512-x25519-ecp384-ecp256-modp4096-modp3072-modp2048",
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-modp4096-modp3072-modp2048",
)
_COMPATIBLE_ESP = (
    *_MODERN_ESP,
    "aes256-aes128-sha256-sha384-sha512-ecp384-ecp256-modp3072-modp2048-noesn-esn",
    "aes256-aes128-sha256-sha384-sha512-noesn-esn",
)


@dataclass(frozen=True, slots=True)
class PolicyPreset:
    """A choice of algorithms by one name: which proposals it means, and what they offer."""

    name: str
    label: str
    offers: str
    ike: str
    esp: str


PRESETS = (
    PolicyPreset(
        "modern-pq",
        "Modern PQ",
        "x25519 or another curve with ML-KEM-768 or -1024 first, and without it for peers that lack it; AES-GCM or "
        "ChaCha20-Poly1305",
        "modern-pq-ike",
        "modern-esp",
    ),
    PolicyPreset(
        "modern",
        "Modern",
        "Elliptic curves without ML-KEM; AES-GCM or ChaCha20-Poly1305",
        "modern-ike",
        "modern-esp",
    ),
    PolicyPreset(
        "compatible",
        "Compatible",
        "All of Modern PQ first, then AES-CBC, HMAC-SHA-2 and MODP groups for older peers",
        "compatible-ike",
        "compatible-esp",
    ),
)


def first_inventory() -> Inventory:
    """Revision 1: the proposals of the three policies."""
    offers = {preset.ike: f"{preset.label}: {preset.offers}" for preset in PRESETS}
    proposals = (
        ProposalObject(
            name="compatible-esp",
            description="Modern algorithms first, then AES-CBC with HMAC-SHA-2, for older peers",
            protocol="esp",
            suites=_COMPATIBLE_ESP,
        ),
        ProposalObject(
            name="compatible-ike", description=offers["compatible-ike"], protocol="ike", suites=_COMPATIBLE_IKE
        ),
        ProposalObject(
            name="modern-esp", description="AES-GCM or ChaCha20-Poly1305", protocol="esp", suites=_MODERN_ESP
        ),
        ProposalObject(name="modern-ike", description=offers["modern-ike"], protocol="ike", suites=MODERN_IKE),
        ProposalObject(name="modern-pq-ike", description=offers["modern-pq-ike"], protocol="ike", suites=MODERN_PQ_IKE),
    )
    changed = {SETTINGS: 1, **{("proposals", proposal.name): 1 for proposal in proposals}}
    return Inventory(1, {proposal.name: proposal for proposal in proposals}, changed=changed)
