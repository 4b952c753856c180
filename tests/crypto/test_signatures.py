"""Signatures in AUTH payloads: every scheme, every older method, and what must not pass for one."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa, x25519

from gateway.crypto.schemes import HASHES, SCHEMES, InvalidProof, UnknownAlgorithm, recognise
from gateway.crypto.signature_keys import InvalidKey, spki, weakness
from gateway.crypto.signatures import METHODS, PrivateKey, PublicKey, check, prove
from gateway.wire.numbers import AuthMethod, HashAlgorithm

RSA = PrivateKey(rsa.generate_private_key(65537, 2048))
KEYS = {
    "rsa": RSA,
    "p256": PrivateKey(ec.generate_private_key(ec.SECP256R1())),
    "p384": PrivateKey(ec.generate_private_key(ec.SECP384R1())),
    "p521": PrivateKey(ec.generate_private_key(ec.SECP521R1())),
    "ed25519": PrivateKey(ed25519.Ed25519PrivateKey.generate()),
    "ed448": PrivateKey(ed448.Ed448PrivateKey.generate()),
    "ml-dsa-44": PrivateKey(mldsa.MLDSA44PrivateKey.generate()),
    "ml-dsa-65": PrivateKey(mldsa.MLDSA65PrivateKey.generate()),
    "ml-dsa-87": PrivateKey(mldsa.MLDSA87PrivateKey.generate()),
}
DATA = b"what RFC 7296 2.15 has an end sign"
DIGITAL = AuthMethod.DIGITAL_SIGNATURE

# RFC 7427 appendix A, as printed there
RFC_7427 = {
    "rsa-sha1": "300d06092a864886f70d0101050500",
    "rsa-sha256": "300d06092a864886f70d01010b0500",
    "rsa-sha384": "300d06092a864886f70d01010c0500",
    "rsa-sha512": "300d06092a864886f70d01010d0500",
    "ecdsa-sha1": "300906072a8648ce3d0401",
    "ecdsa-sha256": "300a06082a8648ce3d040302",
    "ecdsa-sha384": "300a06082a8648ce3d040303",
    "ecdsa-sha512": "300a06082a8648ce3d040304",
    "rsa-pss-sha256": "304606092a864886f70d01010a3039a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120a303020101",
    "ed25519": "300506032b6570",  # RFC 8420 appendix A
    "ed448": "300506032b6571",
}
PSS_EMPTY = bytes.fromhex("300d06092a864886f70d01010a3000")
PSS_DEFAULT = bytes.fromhex(
    "303e06092a864886f70d01010a3031a00b300906052b0e03021a0500a118301606092a864886f70d010108300906052b0e03021a0500"
    "a203020114a303020101"
)


@pytest.mark.parametrize("keyword", RFC_7427)
def test_the_identifiers_are_those_of_the_rfc(keyword: str) -> None:
    row = recognise(bytes.fromhex(RFC_7427[keyword]))
    assert row.keyword == keyword


def test_our_own_identifiers_are_recognised_as_what_they_are() -> None:
    assert [recognise(row.identifier) for row in SCHEMES] == list(SCHEMES)
    assert all(len(row.identifier) < 256 for row in SCHEMES)


def test_what_rsa_pss_leaves_out_is_sha1() -> None:
    for identifier in (PSS_EMPTY, PSS_DEFAULT):
        with pytest.raises(InvalidProof, match="SHA-1"):
            recognise(identifier)


@pytest.mark.parametrize("salt", [0, 20, 32, 64])
def test_the_salt_of_rsa_pss_is_what_the_peer_says(salt: int) -> None:
    whole = bytes.fromhex(RFC_7427["rsa-pss-sha256"])
    identifier = whole.replace(bytes.fromhex("a203020120"), bytes.fromhex("a2030201") + bytes((salt,)))
    assert recognise(identifier).salt == salt
    key = RSA.unwrapped
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    auth = bytes((len(identifier),)) + identifier + signature
    assert check(DIGITAL, auth, RSA.public, DATA).salt == salt
    other = bytes((len(whole),)) + whole + signature
    if salt != 32:
        with pytest.raises(InvalidProof):
            check(DIGITAL, other, RSA.public, DATA)


@pytest.mark.parametrize(
    "identifier",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80\x00\x00",
        bytes.fromhex("300406022a86"),  # an arc that does not end
        bytes.fromhex("300d06092a864886f70d01010a0500"),  # RSASSA-PSS with NULL
        bytes.fromhex("300b06092a864886f70d01010a"),  # … and with nothing
        bytes.fromhex(RFC_7427["ecdsa-sha256"]) + b"\x00",
        bytes.fromhex("300b0609608648016503040302"),  # dsa-with-sha256
        bytes.fromhex("300a06082b0601050507061e"),  # RSASSA-PSS with SHAKE128 (RFC 8692)
        bytes.fromhex(RFC_7427["rsa-pss-sha256"].replace("a303020101", "a303020102")),
        bytes.fromhex(RFC_7427["rsa-pss-sha256"].replace("a203020120", "a2030201ff")),
        bytes.fromhex(RFC_7427["rsa-pss-sha256"].replace("0101083", "0101093")),
        bytes.fromhex(RFC_7427["rsa-pss-sha256"]).replace(bytes.fromhex("020105"), bytes.fromhex("020205"), 1),
    ],
)
def test_an_unknown_algorithm_is_refused_in_a_sentence(identifier: bytes) -> None:
    with pytest.raises(InvalidProof, match="its "):
        check(DIGITAL, bytes((len(identifier),)) + identifier + b"signature", RSA.public, DATA)


@pytest.mark.parametrize(("name", "scheme"), [(n, s) for n, key in KEYS.items() for s in key.schemes(HASHES)])
def test_every_scheme_proves_its_key_and_nothing_else(name: str, scheme: object) -> None:
    key = KEYS[name]
    made = prove(key, DATA, HASHES, wanted=scheme.keyword)  # type: ignore[attr-defined]
    assert made is not None
    assert made.method == DIGITAL
    assert check(DIGITAL, made.data, key.public, DATA) == scheme
    with pytest.raises(InvalidProof):
        check(DIGITAL, made.data, key.public, DATA + b"!")
    with pytest.raises(InvalidProof):
        check(DIGITAL, made.data[:-1], key.public, DATA)
    for other in KEYS.values():
        if other is not key:
            with pytest.raises(InvalidProof):
                check(DIGITAL, made.data, other.public, DATA)


@pytest.mark.parametrize(
    ("name", "hashes_announced", "keyword"),
    [
        ("rsa", (2, 3, 4), "rsa-pss-sha256"),
        ("rsa", (3,), "rsa-pss-sha384"),
        ("p256", (2, 3, 4, 5), "ecdsa-sha256"),
        ("p384", (2, 3, 4, 5), "ecdsa-sha384"),
        ("p521", (4, 3, 2), "ecdsa-sha512"),
        ("p521", (2,), "ecdsa-sha256"),
        ("ed25519", (2, 5), "ed25519"),
        ("ml-dsa-65", (5,), "ml-dsa-65"),
    ],
)
def test_only_what_the_peer_announced_is_used(name: str, hashes_announced: tuple[int, ...], keyword: str) -> None:
    made = prove(KEYS[name], DATA, hashes_announced)
    assert made is not None
    assert made.scheme.keyword == keyword


@pytest.mark.parametrize(("name", "announced"), [("ed25519", (2, 3, 4)), ("ed448", (1,)), ("rsa", (5,)), ("rsa", (1,))])
def test_who_can_verify_none_of_ours_gets_none(name: str, announced: tuple[int, ...]) -> None:
    assert prove(KEYS[name], DATA, announced) is None


@pytest.mark.parametrize(("name", "method", "octets"), [("p256", 9, 64), ("p384", 10, 96), ("p521", 11, 132)])
def test_the_methods_of_rfc_4754_are_r_and_s(name: str, method: int, octets: int) -> None:
    made = prove(KEYS[name], DATA, ())
    assert made is not None
    assert (made.method, len(made.data)) == (method, octets)
    assert check(method, made.data, KEYS[name].public, DATA).kind == KEYS[name].public.kind
    for wrong in (made.data[:-1], made.data + b"\0", bytes(octets), b""):
        with pytest.raises(InvalidProof):
            check(method, wrong, KEYS[name].public, DATA)
    for other in {9, 10, 11} - {method}:
        with pytest.raises(InvalidProof, match="its key is"):
            check(other, made.data, KEYS[name].public, DATA)


def test_sha1_is_made_and_taken_only_where_it_is_allowed() -> None:
    assert prove(RSA, DATA, ()) is None
    made = prove(RSA, DATA, (), sha1=True)
    assert made is not None
    assert made.method == AuthMethod.RSA_DIGITAL_SIGNATURE
    assert check(made.method, made.data, RSA.public, DATA, sha1=True).keyword == "rsa-sha1"
    with pytest.raises(InvalidProof, match="SHA-1, which is not allowed"):
        check(made.method, made.data, RSA.public, DATA)
    identifier = bytes.fromhex(RFC_7427["rsa-sha1"])
    with pytest.raises(InvalidProof, match="not allowed"):
        check(DIGITAL, bytes((15,)) + identifier + made.data, RSA.public, DATA)


def test_method_1_with_a_better_hash_is_taken() -> None:
    key = RSA.unwrapped
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    assert check(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, RSA.public, DATA).keyword == "rsa-sha256"


def _forged(forgery: bytes) -> bytes:
    """What an RSA key makes of these padded octets."""
    key = RSA.unwrapped
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    modulus = numbers.public_numbers.n
    return pow(int.from_bytes(forgery), numbers.d, modulus).to_bytes(256)


DIGEST = bytes.fromhex("3031300d060960864801650304020105000420")


def _digest() -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(DATA)
    return digest.finalize()


@pytest.mark.parametrize(
    "padded",
    [
        lambda end: b"\x00\x01" + b"\xff" * 8 + b"\x00" + end + bytes(245 - len(end)),  # Bleichenbacher 2006
        lambda end: b"\x00\x01" + b"\xff" * (253 - len(end) - 8) + b"\x00" + bytes(8) + end,
        lambda end: b"\x00\x02" + b"\xff" * (253 - len(end)) + b"\x00" + end,
        lambda end: b"\x00\x01" + b"\xfe" * (253 - len(end)) + b"\x00" + end,
        # CVE-2018-16151, -16152: junk inside the DigestInfo
        lambda end: b"\x00\x01" + b"\xff" * (249 - len(end)) + b"\x00\x30\x33" + end[2:4] + b"\x0f" + end[5:19] + b"xx",
    ],
)
def test_a_padding_that_is_not_exact_is_no_signature(padded: object) -> None:
    octets = padded(DIGEST + _digest())  # type: ignore[operator]
    identifier = bytes.fromhex(RFC_7427["rsa-sha256"])
    right = b"\x00\x01" + b"\xff" * 202 + b"\x00" + DIGEST + _digest()
    assert check(DIGITAL, bytes((15,)) + identifier + _forged(right), RSA.public, DATA)
    with pytest.raises(InvalidProof):
        check(DIGITAL, bytes((15,)) + identifier + _forged(octets[:256].ljust(256, b"\0")), RSA.public, DATA)


@pytest.mark.parametrize(
    ("oid", "told"),
    [
        ("0609608648016503040314", r"SLH-DSA \(2\.16\.840\.1\.101\.3\.4\.3\.20\)"),
        ("060960864801650304031f", "SLH-DSA "),
        ("0609608648016503040321", "ML-DSA of a hash"),
        ("06082b0601050507061e", "RSA-PSS with SHAKE128"),
        ("060c608648016503040390ffff7f", r"the algorithm 2\.16\.840\.1\.101\.3\.4\.3\.\d+, which"),
        (
            "06032a0304",
            r"the algorithm 1\.2\.3\.4, which we do not verify in this form; known: RSA, ECDSA, .*ML-DSA-87",
        ),
    ],
)
def test_an_algorithm_that_we_do_not_know_is_named(oid: str, told: str) -> None:
    identifier = bytes((0x30, len(oid) // 2)) + bytes.fromhex(oid)
    with pytest.raises(UnknownAlgorithm, match=told):
        check(DIGITAL, bytes((len(identifier),)) + identifier + bytes(64), RSA.public, DATA)


@pytest.mark.parametrize("method", [0, 2, 3, 12, 13, 15, 255])
def test_other_methods_are_no_signature(method: int) -> None:
    assert method not in METHODS
    with pytest.raises(InvalidProof, match="is no signature"):
        check(method, b"x" * 64, RSA.public, DATA)


@pytest.mark.parametrize(
    "auth", [b"", b"\x00", b"\x0f", b"\xff" + bytes(40), b"\x0f" + bytes.fromhex(RFC_7427["rsa-sha256"])]
)
def test_a_signature_that_is_cut_short_is_none(auth: bytes) -> None:
    with pytest.raises(InvalidProof, match="cut short"):
        check(DIGITAL, auth, RSA.public, DATA)


def test_a_private_key_shows_nothing_of_itself() -> None:
    for key in KEYS.values():
        assert repr(key) == f"<private key, {key.public.text}>"
    assert PrivateKey(RSA.unwrapped) == RSA
    assert KEYS["p256"] != RSA


def test_strengths_and_names() -> None:
    assert {key.public.text: key.public.strength for key in KEYS.values()} == {
        "RSA 2048": 112,
        "ECDSA P-256": 128,
        "ECDSA P-384": 192,
        "ECDSA P-521": 256,
        "Ed25519": 128,
        "Ed448": 224,
        "ML-DSA-44": 128,
        "ML-DSA-65": 192,
        "ML-DSA-87": 256,
    }


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30\x00",
        bytes(5000),
        spki(x25519.X25519PrivateKey.generate().public_key()),
        spki(dsa.generate_private_key(2048).public_key()),
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        RSA.public.spki + b"\0",
        RSA.public.spki[:-1],
    ],
    ids=["nothing", "empty", "long", "x25519", "dsa", "secp256k1", "more", "less"],
)
def test_what_is_no_key_of_a_known_kind_is_refused(octets: bytes) -> None:
    with pytest.raises(InvalidKey):
        PublicKey.parse(octets)


@pytest.mark.parametrize(
    ("bits", "exponent", "words"), [(1024, 65537, "1024 bits"), (2048, 3, "exponent 3"), (2048, 65537, "")]
)
def test_small_moduli_and_exponents_are_weak(bits: int, exponent: int, words: str) -> None:
    key = rsa.generate_private_key(exponent, bits).public_key()
    assert words in weakness(key)
    assert bool(weakness(key)) is bool(words)


def test_a_modulus_that_only_costs_time_is_weak() -> None:
    modulus = (1 << 9000) + 1
    numbers = rsa.RSAPublicNumbers(65537, modulus)
    assert "9001 bits" in weakness(numbers.public_key())


def test_announced_hashes_are_those_that_we_verify() -> None:
    assert HASHES == (HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512, HashAlgorithm.IDENTITY)
