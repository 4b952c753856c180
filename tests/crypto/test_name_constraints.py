"""Names that an authority may not speak for, in every case and form."""

import pytest

from gateway.crypto.certificates import Certificate
from gateway.crypto.chains import Check, Trust, Untrusted, verify
from tests.pki import NOW, authority, issue, private, root


def allows(subject: str, *names: str, permitted: tuple[str, ...] = (), excluded: tuple[str, ...] = ()) -> bool:
    """Whether an authority with these constraints may issue a certificate for these names."""
    top = root("O=Lab, CN=Root")
    limited = authority("O=Lab, CN=Limited", top, permitted=permitted, excluded=excluded)
    leaf = issue(subject, limited, *names, key=private("p256", 1))
    error = None
    try:
        verify([leaf.der, limited.der], Trust((Certificate.read(top.der),), now=NOW), initiator=True)
    except Untrusted as caught:
        error = caught
    if error is not None:
        assert error.check is Check.NAME_CONSTRAINTS
        assert "name constraints" in error.why or "Limited" in error.why
        assert error.links[0].fault == error.why
    return error is None


@pytest.mark.parametrize(
    ("name", "subtree", "inside"),
    [
        ("dns:moon.example.com", "dns:example.com", True),
        ("dns:example.com", "dns:example.com", True),
        ("dns:MOON.Example.COM", "dns:example.com", True),
        ("dns:moon.example.com", "dns:EXAMPLE.com", True),
        ("dns:moon.example.com.", "dns:example.com", True),
        ("dns:moon.example.com", "dns:.example.com", True),
        ("dns:badexample.com", "dns:example.com", False),
        ("dns:example.com.evil.org", "dns:example.com", False),
        ("dns:com", "dns:example.com", False),
        ("mail:a@example.com", "mail:example.com", True),
        ("mail:a@EXAMPLE.com", "mail:example.com", True),
        ("mail:a@sub.example.com", "mail:example.com", False),
        ("mail:a@sub.example.com", "mail:.example.com", True),
        ("mail:a@example.com", "mail:a@example.com", True),
        ("mail:b@example.com", "mail:a@example.com", False),
        ("ip:10.1.2.3", "ip:10.0.0.0/8", True),
        ("ip:11.1.2.3", "ip:10.0.0.0/8", False),
        ("ip:2001:db8::1", "ip:2001:db8::/32", True),
        ("ip:2001:db8::1", "ip:0.0.0.0/0", None),
        ("dn:C=CH, O=Lab, CN=x", "dn:C=CH, O=Lab", True),
        ("dn:C=CH, O=LAB  oratory, CN=x", "dn:C=ch, O=lab oratory", True),
        ("dn:C=CH, O=Other, CN=x", "dn:C=CH, O=Lab", False),
        ("dn:C=CH", "dn:C=CH, O=Lab", False),
        ("uri:https://example.com/", "uri:example.com", None),
    ],
)
def test_permitted_and_excluded_are_each_other_s_opposite(name: str, subtree: str, inside: bool | None) -> None:
    """None: of another kind, or of one that cannot be compared: never permitted by it, nor let past it."""
    subject = name.removeprefix("dn:") if name.startswith("dn:") else "CN=x"
    names = () if name.startswith("dn:") else (name,)
    permitted = allows(subject, *names, permitted=(subtree,))
    excluded = not allows(subject, *names, excluded=(subtree,))
    if inside is None:
        same_kind = name.partition(":")[0] == subtree.partition(":")[0] and name.startswith("uri")
        assert permitted is not same_kind or name.startswith("ip")
        assert excluded is same_kind
    else:
        assert (permitted, excluded) == (inside, inside)


@pytest.mark.parametrize(
    ("name", "subtree"),
    [
        ("dns:EVIL.example", "dns:evil.example"),  # CVE class: case in name constraints
        ("dns:a.Evil.Example", "dns:evil.example"),
        ("dns:evil.example", "dns:.evil.example"),
        ("dns:*.evil.example", "dns:evil.example"),
        ("dns:*.example", "dns:evil.example"),
        ("mail:ADMIN@evil.example", "mail:admin@evil.example"),
        ("mail:x@EVIL.example", "mail:evil.example"),
        ("mail:x@evil.example", "mail:.evil.example"),
    ],
)
def test_what_is_excluded_is_excluded_in_any_spelling(name: str, subtree: str) -> None:
    assert not allows("CN=x", name, excluded=(subtree,))
    other = name.lower().replace("evil", "even").replace("*.example", "*.other")
    assert allows("CN=x", other, excluded=(subtree,))


def test_one_name_outside_is_enough() -> None:
    assert allows("CN=x", "dns:a.example", "dns:b.example", permitted=("dns:a.example", "dns:b.example"))
    assert not allows("CN=x", "dns:a.example", "dns:c.example", permitted=("dns:a.example", "dns:b.example"))
    assert allows("CN=x", "mail:me@else.where", permitted=("dns:a.example",))


def test_an_address_in_the_subject_is_constrained() -> None:
    subject = "1.2.840.113549.1.9.1=me@evil.example, CN=x"
    assert not allows(subject, excluded=("mail:evil.example",))
    assert allows(subject, excluded=("mail:other.example",))


def test_constraints_reach_through_all_below() -> None:
    top = root("CN=Top", permitted=("dns:example.com",))
    below = authority("CN=Below", top, excluded=("dns:secret.example.com",))
    trusted = Trust((Certificate.read(top.der),), now=NOW)
    for name, holds in (("a.example.com", True), ("a.example.org", False), ("a.secret.example.com", False)):
        leaf = issue("CN=x", below, f"dns:{name}")
        if holds:
            assert verify([leaf.der, below.der], trusted, initiator=True)
        else:
            with pytest.raises(Untrusted):
                verify([leaf.der, below.der], trusted, initiator=True)


def test_ever_more_names_under_ever_more_constraints_are_refused_unread() -> None:
    """CVE-2025-58187: names times constraints."""
    many = tuple(f"dns:c{number}.example" for number in range(250))
    assert not allows("CN=x", *(f"dns:n{number}.example" for number in range(200)), excluded=many)
