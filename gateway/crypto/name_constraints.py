"""Which names an authority may speak for (RFC 5280 4.2.1.10).

Letters of different case are the same letter in every kind of name: to compare them as they are written lets an
excluded name pass. Where a form is doubtful, an excluded subtree is read widely and a permitted one narrowly.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509

from gateway.crypto.certificates import MAX_NAMES, AlternativeNames, Certificate, canonical_name, name_text, printable

_MOST_COMPARISONS = 20_000
"""Names times subtrees along one chain; beyond, a certificate only costs time."""


class Costly(ValueError):
    """So many names and constraints that nobody means them."""


def violation(certificate: Certificate, constraints: Sequence[tuple[Certificate, x509.NameConstraints]]) -> str:
    """Why one of the authorities above may not speak for this certificate's names, in a sentence; else empty."""
    names = certificate.names
    subtrees = sum(len(limit.permitted_subtrees or ()) + len(limit.excluded_subtrees or ()) for _, limit in constraints)
    if subtrees * (len(names) + 1) > _MOST_COMPARISONS:
        raise Costly(f"{len(names)} names under {subtrees} name constraints")
    for authority, limit in constraints:
        for excluded in limit.excluded_subtrees or ():
            if found := _covered(names, certificate, excluded, widely=True):
                return f"{authority.text} excludes {printable(str(excluded.value))}, and it is for {found}"
        if fault := _not_permitted(names, certificate, limit.permitted_subtrees or ()):
            return f"{authority.text} does not permit {fault}"
    return ""


def _covered(names: AlternativeNames, certificate: Certificate, subtree: x509.GeneralName, *, widely: bool) -> str:
    """A name of the certificate that lies in the subtree."""
    for name, inside in _compared(names, certificate, subtree, widely=widely):
        if inside:
            return name
    return ""


def _not_permitted(names: AlternativeNames, certificate: Certificate, permitted: Sequence[x509.GeneralName]) -> str:
    """A name of which kind there are permitted subtrees, and that lies in none of them."""
    for kind in {type(subtree) for subtree in permitted}:
        of_kind = [subtree for subtree in permitted if type(subtree) is kind]
        inside: dict[str, bool] = {}
        for subtree in of_kind:
            for name, covered in _compared(names, certificate, subtree, widely=False):
                inside[name] = inside.get(name, False) or covered
        for name, covered in inside.items():
            if not covered:
                return name
    return ""


def _compared(
    names: AlternativeNames, certificate: Certificate, subtree: x509.GeneralName, *, widely: bool
) -> list[tuple[str, bool]]:
    """Each name of the subtree's kind in words, and whether it lies within."""
    match subtree:
        case x509.DNSName():
            return [(printable(name), _dns(name, subtree.value, widely)) for name in names.dns]
        case x509.RFC822Name():
            mail = names.mail or _mail_in_subject(certificate)
            return [(printable(name), _mail(name, subtree.value, widely)) for name in mail]
        case x509.IPAddress() if isinstance(subtree.value, IPv4Network | IPv6Network):
            network = subtree.value
            return [(str(address), _address(address, network)) for address in names.addresses]
        case x509.DirectoryName():
            subjects = [certificate.subject] if certificate.subject.rdns else []
            return [(name_text(name), _directory(name, subtree.value)) for name in (*subjects, *names.directory)]
        case _:  # RFC 5280 6.1.4: what cannot be processed is no permission
            kind = type(subtree).__name__
            return [(f"a name of the kind {kind}", widely) for other in names.other if other == kind]


def _mail_in_subject(certificate: Certificate) -> tuple[str, ...]:
    """RFC 5280 4.2.1.10: an address in the subject is constrained where there is no alternative one."""
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)[:MAX_NAMES]
    return tuple(str(attribute.value) for attribute in found)


def _labels(name: str) -> list[str]:
    return name.casefold().rstrip(".").split(".")


def _under(host: str, domain: str, *, itself: bool) -> bool:
    labels, above = _labels(host), _labels(domain)
    if labels == above:
        return itself
    return len(labels) > len(above) and labels[-len(above) :] == above


def _dns(name: str, subtree: str, widely: bool) -> bool:
    if not subtree:
        return True
    if widely and name.startswith("*.") and _under(subtree.removeprefix("."), name[2:], itself=True):
        return True  # a wildcard reaches into what is excluded
    return _under(name, subtree.removeprefix("."), itself=widely or not subtree.startswith("."))


def _mail(name: str, subtree: str, widely: bool) -> bool:
    user, _, host = name.rpartition("@")
    if "@" in subtree:
        wanted, _, domain = subtree.rpartition("@")
        same_user = user.casefold() == wanted.casefold() if widely else user == wanted
        return same_user and _labels(host) == _labels(domain)
    if subtree.startswith("."):
        return _under(host, subtree[1:], itself=widely)
    return not subtree or _labels(host) == _labels(subtree)


def _address(address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _directory(name: x509.Name, subtree: x509.Name) -> bool:
    wanted = canonical_name(subtree)
    return canonical_name(name)[: len(wanted)] == wanted
