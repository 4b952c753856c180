"""The console's own certificate: made at first start, renewed in time, and told by its fingerprint."""

import datetime as dt
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=825)  # what browsers accept at most of a certificate that a person trusts by hand
RENEWAL = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The files that a TLS server reads, and the SHA-256 fingerprint as browsers show it."""

    certificate: Path
    key: Path
    fingerprint: str


def ensure_certificate(
    data: Path, names: Iterable[str], addresses: Iterable[str], now: dt.datetime
) -> ServerCertificate:
    """The certificate in `<data>/tls`; a self-signed one is made when there is none, and again 30 days before it ends.

    One that somebody put there (its issuer is not itself) is used as it is.
    """
    folder = data / "tls"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()) or _ends(certificate, now):
        _make(certificate, key, list(names), list(addresses), now)
    return ServerCertificate(certificate, key, fingerprint(certificate))


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the certificate, `AB:CD:…`."""
    digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256())
    return ":".join(f"{octet:02X}" for octet in digest)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3 and nothing older."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def own_names(public_name: str = "") -> list[str]:
    """The names under which people may open the console."""
    return list(
        dict.fromkeys(name for name in (public_name, socket.gethostname(), socket.getfqdn(), "localhost") if name)
    )


def own_addresses() -> list[str]:
    """Loopback, what the host's name resolves to, and the addresses that the default routes leave from."""
    found = ["127.0.0.1", "::1"]
    with suppress(OSError):  # a host may have no entry for its own name; the routes below tell enough
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    # Connecting a datagram socket sends nothing; it only asks for the route (RFC 5737 and RFC 3849 addresses).
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
            except OSError:
                continue  # no route of this family
            found.append(str(probe.getsockname()[0]))
    return list(dict.fromkeys(address.partition("%")[0] for address in found))


def _ends(certificate: Path, now: dt.datetime) -> bool:
    present = x509.load_pem_x509_certificate(certificate.read_bytes())
    return present.issuer == present.subject and present.not_valid_after_utc - RENEWAL <= now


def _make(certificate: Path, key: Path, names: list[str], addresses: list[str], now: dt.datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names or ["ikegate"])[0][:64])])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names if name.isascii()]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pkcs8 = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key, pkcs8)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for the owner only."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
