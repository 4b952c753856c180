"""Our own authority, its certificates, lists and answers, read back by the library's verifier and by OpenSSL."""

import datetime as dt
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from OpenSSL import crypto

from gateway.crypto import authority, containers, revoking
from gateway.crypto.authority import CannotIssue, Issuer, Profile, Wanted
from gateway.crypto.signatures import PrivateKey

NOW = 1_800_000_000.0
KEYS: dict[str, Callable[[], object]] = {
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
ML_DSA: dict[str, Callable[[], object]] = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
}
GATEWAY = Wanted("moon", ("moon.example", "192.0.2.1", "2001:db8::1", "admin@moon.example"), "Lab")


def a_key(kind: str = "p384") -> PrivateKey:
    return PrivateKey((KEYS | ML_DSA)[kind]())  # type: ignore[arg-type]


def chance(seed: int = 0) -> Callable[[int], bytes]:
    made = seed

    def draw(octets: int) -> bytes:
        nonlocal made
        made += 1
        return hashlib.sha512(made.to_bytes(8)).digest()[:octets]

    return draw


@pytest.fixture(scope="module", params=list(KEYS))
def root(request: pytest.FixtureRequest) -> Issuer:
    key = a_key(request.param)
    made = authority.create_root(key, Wanted("Lab root", life=3650 * authority.DAY), NOW, chance(7))
    return Issuer(made, key, "http://ca.example/lab")


def test_what_is_issued_is_verified_by_the_library(root: Issuer) -> None:
    key = a_key()
    made = authority.issue(root, key.public, GATEWAY, NOW, chance())
    at = dt.datetime.fromtimestamp(NOW, dt.UTC)
    assert authority.name_texts(made) == GATEWAY.names
    assert made.subject.rfc4514_string() == "CN=moon,O=Lab"
    made.verify_directly_issued_by(root.certificate)
    builder = PolicyBuilder().store(Store([root.certificate])).time(at)
    if root.key.public.text == "Ed25519":  # the web, whose rules the library knows, does not have it
        return
    assert builder.build_client_verifier().verify(made, []).chain == [made, root.certificate]
    later = PolicyBuilder().store(Store([root.certificate])).time(at + dt.timedelta(days=399))
    with pytest.raises(VerificationError):
        later.build_client_verifier().verify(made, [])


def test_openssl_accepts_chain_list_and_answer(root: Issuer, tmp_path: Path) -> None:
    below = a_key()
    sub = Issuer(
        authority.create_intermediate(root, below.public, Wanted("Lab sub"), NOW, chance(1)),
        below,
        "http://ca.example/s",
    )
    leaf = authority.issue(sub, a_key().public, GATEWAY, NOW, chance(2))
    bad = authority.issue(sub, a_key().public, Wanted("bad"), NOW, chance(3))
    revoked = [revoking.Revoked(bad.serial_number, NOW, "key-compromise")]
    files = {
        "root.pem": containers.pem(root.certificate).encode(),
        "sub.pem": containers.pem(sub.certificate).encode(),
        "leaf.pem": containers.pem(leaf).encode(),
        "bad.pem": containers.pem(bad).encode(),
        "root.crl": _pem_crl(revoking.revocation_list(root, [], NOW, 86_400)),
        "sub.crl": _pem_crl(revoking.revocation_list(sub, revoked, NOW, 86_400)),
    }
    for name, octets in files.items():
        (tmp_path / name).write_bytes(octets)

    def verify(name: str) -> subprocess.CompletedProcess[str]:
        words = f"openssl verify -x509_strict -attime {int(NOW)} -CAfile root.pem -untrusted sub.pem -crl_check_all "
        words += f"-CRLfile root.crl -CRLfile sub.crl -purpose sslclient {name}"
        return subprocess.run(words.split(), cwd=tmp_path, check=False, capture_output=True, text=True)

    good, refused = verify("leaf.pem"), verify("bad.pem")
    assert good.returncode == 0, good.stderr
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stderr

    asked = "openssl ocsp -issuer sub.pem -cert bad.pem -cert leaf.pem -reqout two.req".split()
    subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True)
    for name, told in (("leaf", "good"), ("bad", "revoked")):
        asked = f"openssl ocsp -issuer sub.pem -cert {name}.pem -reqout {name}.req".split()
        subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True)
        question = (tmp_path / f"{name}.req").read_bytes()
        answer = revoking.answer_ocsp(sub, question, {leaf.serial_number}, revoked, NOW)
        (tmp_path / f"{name}.resp").write_bytes(answer)
        words = f"openssl ocsp -no_nonce -respin {name}.resp -issuer sub.pem -cert {name}.pem -CAfile root.pem "
        words += f"-VAfile sub.pem -attime {int(NOW)} -validity_period 2000000000"
        read = subprocess.run(words.split(), cwd=tmp_path, check=False, capture_output=True, text=True)
        assert "Response verify OK" in read.stdout + read.stderr, read.stderr
        assert f"{name}.pem: {told}" in read.stdout, read.stdout
    two = revoking.answer_ocsp(sub, (tmp_path / "two.req").read_bytes(), {leaf.serial_number}, revoked, NOW)
    assert ocsp.load_der_ocsp_response(two).response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def _pem_crl(octets: bytes) -> bytes:
    return x509.load_der_x509_crl(octets).public_bytes(Encoding.PEM)


def _question(subject: x509.Certificate, issuer: x509.Certificate) -> bytes:
    built = ocsp.OCSPRequestBuilder().add_certificate(subject, issuer, hashes.SHA256())
    return built.add_extension(x509.OCSPNonce(b"n" * 32), False).build().public_bytes(Encoding.DER)


def test_answers_name_what_is_unknown_or_not_ours(root: Issuer) -> None:
    leaf = authority.issue(root, a_key().public, GATEWAY, NOW, chance())
    unknown = ocsp.load_der_ocsp_response(revoking.answer_ocsp(root, _question(leaf, root.certificate), set(), [], NOW))
    assert unknown.certificate_status == ocsp.OCSPCertStatus.UNKNOWN
    assert unknown.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    other_key = a_key()
    other = Issuer(authority.create_root(other_key, Wanted("Lab root"), NOW, chance(9)), other_key)
    foreign = revoking.answer_ocsp(other, _question(leaf, root.certificate), {leaf.serial_number}, [], NOW)
    assert ocsp.load_der_ocsp_response(foreign).response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("kind", list(ML_DSA))
def test_openssl_accepts_a_chain_of_ml_dsa(kind: str) -> None:
    """By the library that Python brings along: Debian 12's own OpenSSL does not know ML-DSA."""
    keys = a_key(kind), a_key(kind), a_key(kind)
    root = Issuer(authority.create_root(keys[0], Wanted("root"), NOW, chance()), keys[0])
    below = Issuer(authority.create_intermediate(root, keys[1].public, Wanted("below"), NOW, chance(1)), keys[1])
    leaf = authority.issue(below, keys[2].public, GATEWAY, NOW, chance(2))
    bad = authority.issue(below, keys[2].public, Wanted("bad"), NOW, chance(3))
    revoked = [revoking.Revoked(bad.serial_number, NOW)]
    store = crypto.X509Store()
    store.set_time(dt.datetime.fromtimestamp(NOW, dt.UTC))
    flags = crypto.X509StoreFlags
    store.set_flags(flags.X509_STRICT | flags.CRL_CHECK | flags.CRL_CHECK_ALL)
    store.add_cert(crypto.X509.from_cryptography(root.certificate))
    for issuer, list_of in ((root, []), (below, revoked)):
        store.add_crl(x509.load_der_x509_crl(revoking.revocation_list(issuer, list_of, NOW, 86_400)))

    def verify(one: x509.Certificate, *between: x509.Certificate) -> None:
        others = [crypto.X509.from_cryptography(other) for other in between]
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(one), others).verify_certificate()

    verify(leaf, below.certificate)
    with pytest.raises(crypto.X509StoreContextError, match="revoked"):
        verify(bad, below.certificate)
    other = Issuer(below.certificate, a_key(kind))  # says that it is the authority, and has another key
    with pytest.raises(crypto.X509StoreContextError, match="signature failure"):
        verify(authority.issue(other, keys[2].public, GATEWAY, NOW, chance(4)), below.certificate)


@pytest.mark.parametrize("kind", list(ML_DSA))
def test_keys_of_ml_dsa_are_stored_requested_and_answered_for(kind: str) -> None:
    key = a_key(kind)
    root = Issuer(authority.create_root(key, Wanted("root"), NOW, chance()), key)
    assert containers.read_private_key(containers.key_pem(key).encode()) == key
    asked = containers.read_request(authority.request(key, GATEWAY).encode())
    assert authority.requested_key(asked) == key.public
    leaf = authority.issue(root, authority.requested_key(asked), GATEWAY, NOW, chance(1))
    answer = revoking.answer_ocsp(root, _question(leaf, root.certificate), {leaf.serial_number}, [], NOW)
    read = ocsp.load_der_ocsp_response(answer)
    assert read.certificate_status == ocsp.OCSPCertStatus.GOOD
    unwrapped = key.unwrapped.public_key()
    unwrapped.verify(read.signature, read.tbs_response_bytes)  # type: ignore[call-arg, arg-type]
    with pytest.raises(ValueError, match="goes into no PKCS#12 file here"):
        containers.write_pkcs12("leaf", key, (leaf,), "password")


@pytest.mark.parametrize(
    "octets", [b"", b"\x30", b"\x30\x03\x02\x01\x05", b"\x30\x82\xff\xff" + b"\0" * 9, b"x" * 20_000]
)
def test_any_octets_get_an_answer(root: Issuer, octets: bytes) -> None:
    answer = ocsp.load_der_ocsp_response(revoking.answer_ocsp(root, octets, set(), [], NOW))
    assert answer.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_a_question_with_a_hash_that_we_do_not_know_gets_an_answer(root: Issuer) -> None:
    sha256, md2 = bytes.fromhex("0609608648016503040201"), bytes.fromhex("06092a864886f70d010102")
    asked = _question(root.certificate, root.certificate)
    assert sha256 in asked
    answer = ocsp.load_der_ocsp_response(revoking.answer_ocsp(root, asked.replace(sha256, md2), set(), [], NOW))
    assert answer.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


@pytest.mark.parametrize("serial", [b"\xff", b"\x80" + bytes(19)])
def test_a_question_about_a_negative_serial_number_gets_an_answer(root: Issuer, serial: bytes) -> None:
    """RFC 5280 4.1.2.2 has none, and the library reads one but does not write it."""
    leaf = authority.issue(root, a_key().public, GATEWAY, NOW, chance())
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, root.certificate, hashes.SHA256()).build()
    ours = asked.serial_number.to_bytes((asked.serial_number.bit_length() + 8) // 8)
    octets = asked.public_bytes(Encoding.DER)
    hostile = octets.replace(ours, serial.ljust(len(ours), b"\1"))
    assert hostile != octets
    answer = ocsp.load_der_ocsp_response(revoking.answer_ocsp(root, hostile, set(), [], NOW))
    assert answer.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_a_certificate_says_what_it_is_for() -> None:
    key = a_key()
    root = Issuer(authority.create_root(key, Wanted("root"), NOW, chance()), key, "http://ca.example/r")
    made = authority.issue(root, a_key().public, GATEWAY, NOW, chance(1))
    client = authority.issue(root, a_key().public, Wanted("phone", profile=Profile.CLIENT), NOW, chance(2))
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.IPSEC_IKE,
    ]
    assert (authority.profile_of(made), authority.profile_of(client)) == (Profile.GATEWAY, Profile.CLIENT)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    place = made.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0]
    assert place.full_name == [x509.UniformResourceIdentifier("http://ca.example/r/crl")]
    assert 0 < made.serial_number < 1 << 159
    assert made.serial_number != client.serial_number


def test_nothing_outlives_its_issuer_and_nothing_comes_from_a_dead_one() -> None:
    key = a_key()
    root = Issuer(authority.create_root(key, Wanted("root", life=1000), NOW, chance()), key)
    made = authority.issue(root, a_key().public, GATEWAY, NOW, chance(1))
    assert made.not_valid_after_utc == root.certificate.not_valid_after_utc
    for moment in (NOW + 1001, NOW - 1000):
        with pytest.raises(CannotIssue, match="not valid now"):
            authority.issue(root, a_key().public, GATEWAY, moment, chance(2))
    sub = Issuer(authority.create_intermediate(root, a_key().public, Wanted("sub"), NOW, chance()), a_key())
    with pytest.raises(CannotIssue, match="path length"):
        authority.create_intermediate(sub, a_key().public, Wanted("deeper"), NOW, chance())


def test_a_renewed_certificate_says_the_same(root: Issuer) -> None:
    old = authority.issue(root, a_key().public, GATEWAY, NOW, chance())
    due = authority.renewal_due(old)
    assert NOW + 200 * authority.DAY < due < NOW + 398 * authority.DAY
    key = a_key()
    new = authority.renew(root, old, key.public, due, chance(5))
    assert (new.subject, authority.name_texts(new)) == (old.subject, authority.name_texts(old))
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert new.serial_number != old.serial_number
    life = new.not_valid_after_utc - new.not_valid_before_utc
    assert life == old.not_valid_after_utc - old.not_valid_before_utc


def test_of_a_request_only_its_proven_key_counts(root: Issuer) -> None:
    key = a_key()
    asked = containers.read_request(authority.request(key, GATEWAY).encode())
    assert authority.requested_key(asked) == key.public
    assert authority.name_texts(asked) == GATEWAY.names
    # One that asks to be an authority gets a certificate that is none.
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    made = authority.issue(root, authority.requested_key(greedy), Wanted("tame"), NOW, chance())
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.common_name(made) == "tame"


def test_a_request_of_another_key_is_refused() -> None:
    octets = bytearray(x509.load_pem_x509_csr(authority.request(a_key(), GATEWAY).encode()).public_bytes(Encoding.DER))
    octets[-1] ^= 1
    with pytest.raises(CannotIssue, match="not signed by its own key"):
        authority.requested_key(containers.read_request(bytes(octets)))


def test_a_request_of_a_key_that_we_do_not_know_is_refused() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moon")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    curve = asked.sign(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256())
    octets = asked.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)
    unknown = x509.load_der_x509_csr(octets.replace(b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x7f"))
    for request, told in ((curve, "secp256k1"), (unknown, "Unknown key type")):
        with pytest.raises(CannotIssue, match=told):
            authority.requested_key(request)


@pytest.mark.parametrize("name", ["", "a b", "-", "x" * 300, "a@", "256.1.1.1/8", "x\x00.example", "ü.example"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(CannotIssue, match="no address, DNS name or e-mail"):
        authority.general_name(name)
