"""Where a certificate or a list says that its issuer tells what was revoked, by HTTP (RFC 5280 4.2.1.13, 4.2.1.15)."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.crypto.certificates import MALFORMED

Publishing = x509.Certificate | x509.CertificateRevocationList


def distribution_points(one: x509.Certificate) -> list[str]:
    """The addresses of complete lists."""
    return _points(one, x509.CRLDistributionPoints)


def delta_points(one: Publishing) -> list[str]:
    """The addresses of what is to be laid over a complete list (RFC 5280 5.2.6)."""
    return _points(one, x509.FreshestCRL)


def responders(one: x509.Certificate) -> list[str]:
    """The addresses of OCSP responders (RFC 5280 4.2.2.1)."""
    try:
        ways = one.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    return _by_http(way.access_location for way in ways if way.access_method == AuthorityInformationAccessOID.OCSP)


def _points(one: Publishing, kind: type[x509.CRLDistributionPoints] | type[x509.FreshestCRL]) -> list[str]:
    try:
        points = one.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    return _by_http(name for point in points for name in point.full_name or ())


def _by_http(names: Iterable[x509.GeneralName]) -> list[str]:
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return [uri for uri in uris if uri.lower().startswith("http://")]
