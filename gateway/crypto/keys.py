"""Keys of IKE SAs and CHILD_SAs, and what an AUTH payload is computed over (RFC 7296 2.13-2.18, 9370, 8784, 9867)."""

from dataclasses import dataclass, field

from gateway.crypto.rows import Encryption, Integrity, PseudoRandom

_KEY_PAD = b"Key Pad for IKEv2"  # RFC 7296 2.15: 17 ASCII octets without a terminating zero
PPK_CONFIRMATION_OCTETS = 8


@dataclass(slots=True)
class IkeKeys:
    """The seven secrets of an IKE SA; `i` protects what the original initiator sends, `r` the other direction.

    `ei` and `er` include the salt (RFC 5282 7.1); `ai` and `ar` are empty with an AEAD.
    """

    d: bytes = field(repr=False)
    ai: bytes = field(repr=False)
    ar: bytes = field(repr=False)
    ei: bytes = field(repr=False)
    er: bytes = field(repr=False)
    pi: bytes = field(repr=False)
    pr: bytes = field(repr=False)

    def without_proofs(self) -> "IkeKeys":
        """What an established SA still needs: SK_pi and SK_pr have served their turn."""
        return IkeKeys(self.d, self.ai, self.ar, self.ei, self.er, b"", b"")


@dataclass(slots=True)
class ChildKeys:
    """The keys of a CHILD_SA pair: `i` is the initiator-to-responder direction; `encr_*` include the salt."""

    encr_i: bytes = field(repr=False)
    integ_i: bytes = field(repr=False)
    encr_r: bytes = field(repr=False)
    integ_r: bytes = field(repr=False)


def skeyseed(prf: PseudoRandom, nonce_i: bytes, nonce_r: bytes, shared: bytes) -> bytes:
    """SKEYSEED of a first IKE SA: prf(Ni | Nr, g^ir) (RFC 7296 2.14)."""
    if prf.short_nonces:
        nonce_i, nonce_r = nonce_i[:8], nonce_r[:8]
    return prf.compute(nonce_i + nonce_r, shared)


def rekey_skeyseed(
    prf_old: PseudoRandom, sk_d: bytes, shared: bytes, nonce_i: bytes, nonce_r: bytes, additional: bytes = b""
) -> bytes:
    """SKEYSEED of the next IKE SA: prf(SK_d, g^ir | Ni | Nr [| SK(1) ... SK(n)]) with the old SA's prf (RFC 7296 2.18).

    `additional` are the shared secrets of IKE_FOLLOWUP_KE in order (RFC 9370 2.2.4). The same function with the running
    SA's own prf, SK_d and nonces updates its keys after an IKE_INTERMEDIATE key exchange (RFC 9370 2.2.2).
    """
    return prf_old.compute(sk_d, shared + nonce_i + nonce_r + additional)


def resumption_skeyseed(prf: PseudoRandom, sk_d: bytes, nonce_i: bytes, nonce_r: bytes) -> bytes:
    """SKEYSEED of a resumed IKE SA: prf(SK_d of the old one, "Resumption" | Ni | Nr) (RFC 5723 5.1)."""
    return prf.compute(sk_d, b"Resumption" + nonce_i + nonce_r)


def ike_keys(
    prf: PseudoRandom,
    skeyseed: bytes,
    nonce_i: bytes,
    nonce_r: bytes,
    spi_i: bytes,
    spi_r: bytes,
    encr: Encryption,
    integ: Integrity | None,
) -> IkeKeys:
    """prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) cut in the order of RFC 7296 2.14; `integ` is None with an AEAD."""
    d = prf.key_octets
    a = integ.key_octets if integ else 0
    e = encr.key_octets + encr.salt_octets
    ar, ei = d + a, d + a + a
    er, pi, pr = ei + e, ei + e + e, ei + e + e + d
    stream = prf.expand(skeyseed, nonce_i + nonce_r + spi_i + spi_r, pr + d)
    return IkeKeys(stream[:d], stream[d:ar], stream[ar:ei], stream[ei:er], stream[er:pi], stream[pi:pr], stream[pr:])


def child_keys(
    prf: PseudoRandom,
    sk_d: bytes,
    nonce_i: bytes,
    nonce_r: bytes,
    encr: Encryption | None,
    integ: Integrity | None,
    shared: bytes = b"",
    additional: bytes = b"",
) -> ChildKeys:
    """KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr [| SK(1) ... SK(n)]), cut in the order of RFC 7296 2.17.

    `shared` is the new key exchange's secret (empty without one), `additional` those of IKE_FOLLOWUP_KE (RFC 9370
    2.2.4). `encr` is None for AH only, `integ` None with an AEAD.
    """
    e = encr.key_octets + encr.salt_octets if encr else 0
    a = integ.key_octets if integ else 0
    half = e + a
    stream = prf.expand(sk_d, shared + nonce_i + nonce_r + additional, half + half)
    return ChildKeys(stream[:e], stream[e:half], stream[half : half + e], stream[half + e :])


def ppk_keys(prf: PseudoRandom, ppk: bytes, keys: IkeKeys) -> IkeKeys:
    """`keys` with a postquantum preshared key mixed into SK_d, SK_pi and SK_pr (RFC 8784 3)."""
    d, pi, pr = (prf.expand(ppk, key, prf.key_octets) for key in (keys.d, keys.pi, keys.pr))
    return IkeKeys(d, keys.ai, keys.ar, keys.ei, keys.er, pi, pr)


def ppk_skeyseed(prf: PseudoRandom, ppk: bytes, sk_d: bytes) -> bytes:
    """SKEYSEED' = prf+(PPK, SK_d), of which all seven keys are made anew after IKE_INTERMEDIATE (RFC 9867 3.1)."""
    return prf.expand(ppk, sk_d, prf.key_octets)


def ppk_confirmation(
    prf: PseudoRandom, ppk: bytes, nonce_i: bytes, nonce_r: bytes, spi_i: bytes, spi_r: bytes
) -> bytes:
    """By which the responder sees that its key of this identity is the initiator's: the first octets of
    prf(PPK, Ni | Nr | SPIi | SPIr) (RFC 9867 3.1)."""
    return prf.compute(ppk, nonce_i + nonce_r + spi_i + spi_r)[:PPK_CONFIRMATION_OCTETS]


def signed_octets(
    message: bytes, other_nonce: bytes, prf: PseudoRandom, sk_p: bytes, id_body: bytes, int_auth: bytes = b""
) -> bytes:
    """What an end signs or MACs: its own IKE_SA_INIT message, the other's nonce, prf(SK_p, its ID) (RFC 7296 2.15).

    `message` is this end's first message as sent last (with its cookie), `other_nonce` the other end's nonce data,
    `id_body` this end's ID payload without the generic header, `sk_p` SK_pi or SK_pr accordingly. `int_auth` is
    IntAuth_iN | IntAuth_rN | IKE_AUTH message ID when there was an IKE_INTERMEDIATE (RFC 9242 3.3.2).
    """
    return message + other_nonce + prf.compute(sk_p, id_body) + int_auth


def psk_auth(prf: PseudoRandom, psk: bytes, signed_octets: bytes) -> bytes:
    """AUTH data of a shared key, an EAP MSK, or SK_p for keyless EAP (RFC 7296 2.15, 2.16)."""
    return prf.compute(prf.compute(psk, _KEY_PAD), signed_octets)
