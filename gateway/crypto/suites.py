"""The algorithm table in preference order, and how a row is found by its number or its keyword."""

from gateway.crypto.rows import Algorithm, Encryption, Integrity, KeyExchangeMethod, PseudoRandom, Status

__all__ = [
    "ENCRYPTIONS",
    "INTEGRITIES",
    "KEY_EXCHANGES",
    "PRFS",
    "Algorithm",
    "Encryption",
    "Integrity",
    "KeyExchangeMethod",
    "PseudoRandom",
    "Status",
    "by_keyword",
    "encryption",
    "integrity",
    "key_exchange",
    "pseudo_random",
]

_MUST, _MUST_MINUS, _SHOULD_PLUS, _SHOULD, _MAY = (
    Status.MUST,
    Status.MUST_MINUS,
    Status.SHOULD_PLUS,
    Status.SHOULD,
    Status.MAY,
)
_CTR_IV = 8


def _aead(number: int, mode: str, bits: int, icv: int, ike: Status = _MAY, esp: Status = _MAY) -> Encryption:
    """One AES-GCM (RFC 4106, 5282) or AES-CCM (RFC 4309, 5282) row."""
    # NIST SP 800-38D appendix C: a GCM tag of 64 bits is safe only for little data; CCM has no such flaw.
    return Encryption(
        number=number,
        key_bits=bits,
        keyword=f"aes{bits}{mode}{icv}",
        name=f"ENCR_AES_{mode.upper()}_{icv}",
        aead=True,
        key_octets=bits // 8,
        salt_octets=4 if mode == "gcm" else 3,
        iv_octets=_CTR_IV,
        iv_random=False,
        icv_octets=icv,
        block_octets=1,
        kernel="rfc4106(gcm(aes))" if mode == "gcm" else "rfc4309(ccm(aes))",
        strength=bits,
        ike_status=ike,
        esp_status=esp,
        label=f"AES-{bits}-{mode.upper()} ({icv}-octet tag)" if icv < 16 else f"AES-{bits}-{mode.upper()}",
        weak=mode == "gcm" and icv == 8,
    )


def _aes(number: int, mode: str, bits: int, status: Status) -> Encryption:
    """One AES-CBC (RFC 3602) or AES-CTR (RFC 3686, 5930) row; an integrity algorithm must go with it."""
    cbc = mode == "cbc"
    return Encryption(
        number=number,
        key_bits=bits,
        keyword=f"aes{bits}" if cbc else f"aes{bits}ctr",
        name=f"ENCR_AES_{mode.upper()}",
        aead=False,
        key_octets=bits // 8,
        salt_octets=0 if cbc else 4,  # RFC 3686 5.1: the nonce comes after the key
        iv_octets=16 if cbc else _CTR_IV,
        iv_random=cbc,  # RFC 3602 3: unpredictable
        icv_octets=0,
        block_octets=16 if cbc else 1,
        kernel="cbc(aes)" if cbc else "rfc3686(ctr(aes))",
        strength=bits,
        ike_status=status,
        esp_status=status,
        label=f"AES-{bits}-{mode.upper()}",
    )


_CHACHA20_POLY1305 = Encryption(
    number=28,
    key_bits=0,  # RFC 7634 4: no Key Length attribute
    keyword="chacha20poly1305",
    name="ENCR_CHACHA20_POLY1305",
    aead=True,
    key_octets=32,
    salt_octets=4,
    iv_octets=_CTR_IV,
    iv_random=False,
    icv_octets=16,
    block_octets=1,
    kernel="rfc7539esp(chacha20,poly1305)",
    strength=256,
    ike_status=_SHOULD,
    esp_status=_SHOULD,
    label="ChaCha20-Poly1305",
)

# RFC 8247 2.1 and RFC 8221 5: 192-bit keys stay at MAY; AES-CCM-8 is SHOULD with 128 bits only (for small devices).
ENCRYPTIONS: tuple[Encryption, ...] = (
    _aead(20, "gcm", 256, 16, _SHOULD, _MUST),
    _CHACHA20_POLY1305,
    _aead(20, "gcm", 128, 16, _SHOULD, _MUST),
    _aead(20, "gcm", 192, 16),
    _aead(16, "ccm", 256, 16),
    _aead(16, "ccm", 128, 16),
    _aead(16, "ccm", 192, 16),
    _aes(12, "cbc", 256, _MUST),
    _aes(12, "cbc", 128, _MUST),
    _aes(12, "cbc", 192, _MAY),
    _aes(13, "ctr", 256, _MAY),
    _aes(13, "ctr", 128, _MAY),
    _aes(13, "ctr", 192, _MAY),
    _aead(19, "gcm", 256, 12),
    _aead(19, "gcm", 128, 12),
    _aead(19, "gcm", 192, 12),
    _aead(15, "ccm", 256, 12),
    _aead(15, "ccm", 128, 12),
    _aead(15, "ccm", 192, 12),
    _aead(14, "ccm", 256, 8),
    _aead(14, "ccm", 128, 8, _SHOULD, _SHOULD),
    _aead(14, "ccm", 192, 8),
    _aead(18, "gcm", 256, 8),
    _aead(18, "gcm", 128, 8),
    _aead(18, "gcm", 192, 8),
)


def _hmac_integrity(number: int, bits: int, status: Status) -> Integrity:
    """One HMAC-SHA-2 row: the ICV is half of the output (RFC 4868 2.3), and that is its strength."""
    return Integrity(
        number=number,
        keyword=f"sha{bits}",
        name=f"AUTH_HMAC_SHA2_{bits}_{bits // 2}",
        key_octets=bits // 8,
        icv_octets=bits // 16,
        kernel=f"hmac(sha{bits})",
        kernel_truncation_bits=bits // 2,
        strength=bits // 2,
        ike_status=status,
        esp_status=status,
        label=f"HMAC-SHA-{bits}-{bits // 2}",
        digest=f"sha{bits}",
    )


def _mac_96(number: int, keyword: str, name: str, octets: int, kernel: str, status: Status, label: str) -> Integrity:
    """One row whose ICV is cut to 96 bits (RFC 2404, 3566, 4494)."""
    sha1 = octets == 20
    return Integrity(
        number=number,
        keyword=keyword,
        name=name,
        key_octets=octets,
        icv_octets=12,
        kernel=kernel,
        kernel_truncation_bits=96,
        strength=96,
        ike_status=status,
        esp_status=status,
        label=label,
        digest="sha1" if sha1 else "",
        weak=sha1,
    )


# RFC 8247 2.3, RFC 8221 6. AES-XCBC is SHOULD for small devices only, MAY for a gateway.
INTEGRITIES: tuple[Integrity, ...] = (
    _hmac_integrity(12, 256, _MUST),
    _hmac_integrity(14, 512, _SHOULD),
    _hmac_integrity(13, 384, _MAY),
    _mac_96(8, "aescmac", "AUTH_AES_CMAC_96", 16, "cmac(aes)", _MAY, "AES-CMAC-96"),
    _mac_96(5, "aesxcbc", "AUTH_AES_XCBC_96", 16, "xcbc(aes)", _MAY, "AES-XCBC-96"),
    _mac_96(2, "sha1", "AUTH_HMAC_SHA1_96", 20, "hmac(sha1)", _MUST_MINUS, "HMAC-SHA-1-96"),
)

# RFC 8247 2.2; strength of an HMAC as a key derivation function: NIST SP 800-57 part 1, table 3.
PRFS: tuple[PseudoRandom, ...] = (
    PseudoRandom(5, "prfsha256", "PRF_HMAC_SHA2_256", 32, 32, 256, _MUST, "HMAC-SHA-256", "sha256"),
    PseudoRandom(6, "prfsha384", "PRF_HMAC_SHA2_384", 48, 48, 256, _MAY, "HMAC-SHA-384", "sha384"),
    PseudoRandom(7, "prfsha512", "PRF_HMAC_SHA2_512", 64, 64, 256, _SHOULD_PLUS, "HMAC-SHA-512", "sha512"),
    PseudoRandom(8, "prfaescmac", "PRF_AES128_CMAC", 16, 16, 128, _MAY, "AES-CMAC"),
    PseudoRandom(4, "prfaesxcbc", "PRF_AES128_XCBC", 16, 16, 128, _MAY, "AES-XCBC"),
    PseudoRandom(2, "prfsha1", "PRF_HMAC_SHA1", 20, 20, 128, _MUST_MINUS, "HMAC-SHA-1", "sha1", weak=True),
)


def _dh(
    number: int, keyword: str, name: str, public: int, shared: int, strength: int, label: str, status: Status = _MAY
) -> KeyExchangeMethod:
    return KeyExchangeMethod(number, keyword, name, public, public, shared, strength, status, label)


def _modp(number: int, bits: int, strength: int, status: Status = _MAY) -> KeyExchangeMethod:
    return _dh(number, f"modp{bits}", f"MODP{bits}", bits // 8, bits // 8, strength, f"MODP-{bits}", status)


def _kem(number: int, size: int, public: int, answer: int, strength: int) -> KeyExchangeMethod:
    return KeyExchangeMethod(
        number, f"mlkem{size}", f"ML_KEM_{size}", public, answer, 32, strength, _MAY, f"ML-KEM-{size}", kem=True
    )


# RFC 8247 2.4; strengths from NIST SP 800-57 part 1 table 2, SP 800-56A appendix D (MODP) and FIPS 203 table 1.
KEY_EXCHANGES: tuple[KeyExchangeMethod, ...] = (
    _dh(31, "x25519", "CURVE25519", 32, 32, 128, "X25519"),
    _dh(20, "ecp384", "ECP_384", 96, 48, 192, "NIST P-384"),
    _dh(19, "ecp256", "ECP_256", 64, 32, 128, "NIST P-256", _SHOULD),
    _dh(32, "x448", "CURVE448", 56, 56, 224, "X448"),
    _dh(21, "ecp521", "ECP_521", 132, 66, 256, "NIST P-521"),
    _dh(30, "ecp512bp", "BRAINPOOL_P512R1", 128, 64, 256, "Brainpool P-512"),
    _dh(29, "ecp384bp", "BRAINPOOL_P384R1", 96, 48, 192, "Brainpool P-384"),
    _dh(28, "ecp256bp", "BRAINPOOL_P256R1", 64, 32, 128, "Brainpool P-256"),
    _modp(15, 3072, 128),
    _modp(16, 4096, 152),
    _modp(14, 2048, 112, _MUST),
    _modp(17, 6144, 176),
    _modp(18, 8192, 200),
    _kem(36, 768, 1184, 1088, 192),
    _kem(37, 1024, 1568, 1568, 256),
)

_ENCRYPTION = {(row.number, row.key_bits): row for row in ENCRYPTIONS}
_INTEGRITY = {row.number: row for row in INTEGRITIES}
_PSEUDO_RANDOM = {row.number: row for row in PRFS}
_KEY_EXCHANGE = {row.number: row for row in KEY_EXCHANGES}
# strongSwan's other spellings, as people paste them from existing configurations.
_ALIASES = {
    "sha": "sha1",
    "sha2_256": "sha256",
    "sha2_384": "sha384",
    "sha2_512": "sha512",
    "curve25519": "x25519",
    "curve448": "x448",
    **{f"aes{bits}gcm": f"aes{bits}gcm16" for bits in (128, 192, 256)},
    **{f"aes{bits}ccm": f"aes{bits}ccm16" for bits in (128, 192, 256)},
    **{
        f"aes{bits}{mode}{8 * icv}": f"aes{bits}{mode}{icv}"
        for bits in (128, 192, 256)
        for mode in ("gcm", "ccm")
        for icv in (8, 12, 16)
    },
}
_ROWS: tuple[Algorithm, ...] = (*ENCRYPTIONS, *INTEGRITIES, *PRFS, *KEY_EXCHANGES)
_BY_KEYWORD = {row.keyword: row for row in _ROWS}


def encryption(number: int, key_bits: int | None) -> Encryption | None:
    """The row for an ENCR transform with its Key Length attribute (None or 0: it carries none)."""
    return _ENCRYPTION.get((number, key_bits or 0))


def integrity(number: int) -> Integrity | None:
    """The row for an INTEG transform."""
    return _INTEGRITY.get(number)


def pseudo_random(number: int) -> PseudoRandom | None:
    """The row for a PRF transform."""
    return _PSEUDO_RANDOM.get(number)


def key_exchange(number: int) -> KeyExchangeMethod | None:
    """The row for a KE or ADDKE transform."""
    return _KEY_EXCHANGE.get(number)


def by_keyword(keyword: str) -> Algorithm | None:
    """The row that strongSwan's `keyword` names (`aes256gcm16`, `prfsha256`, `x25519`), in any letter case."""
    keyword = keyword.lower()
    return _BY_KEYWORD.get(_ALIASES.get(keyword, keyword))
