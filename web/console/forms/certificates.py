"""The forms of certificates and authorities."""

from typing import Any

from gateway.service.documents import as_document
from gateway.storage.identity import AuthorityObject, CertificateObject
from gateway.storage.objects import FieldError
from web.console.forms.fields import Errors, Typed, entries, lines, number, place

KEY_TYPES = [
    ("ecdsa-p384", "ECDSA P-384"),
    ("ecdsa-p256", "ECDSA P-256"),
    ("rsa-3072", "RSA 3072, for old peers"),
    ("rsa-4096", "RSA 4096, for old peers"),
    ("ed25519", "Ed25519, for new peers"),
    ("ml-dsa-44", "ML-DSA-44, post-quantum, where both sides know it"),
    ("ml-dsa-65", "ML-DSA-65, post-quantum, where both sides know it"),
    ("ml-dsa-87", "ML-DSA-87, post-quantum, where both sides know it"),
]
REASONS = [
    ("unspecified", "No particular reason"),
    ("key-compromise", "Its private key may be in wrong hands"),
    ("superseded", "Another one took its place"),
    ("cessation-of-operation", "It is no longer needed"),
    ("affiliation-changed", "Its owner changed"),
    ("privilege-withdrawn", "Its owner may no longer"),
]
_FIELDS = (
    (r"/(name|description|common_name|organization|days|key_type|authority|issuer)", r"\1"),
    (
        r"/(certificate|private_key|publish_uri|profile|request|pkcs12|password|intermediates|fetch_private|renew)",
        r"\1",
    ),
    (r"/(names|crls|crl_uris)(/.*)?", r"\1"),
)
NEW_CERTIFICATE: Typed = {"how": "generate", "profile": "gateway", "days": "398", "key_type": "ecdsa-p384"}
NEW_AUTHORITY: Typed = {"how": "create", "days": "3650", "key_type": "ecdsa-p384"}
_CRL_END = "-----END X509 CRL-----"


def placed(found: list[FieldError]) -> Errors:
    return place(found, _FIELDS)


def typed_of_certificate(one: CertificateObject) -> Typed:
    return {"description": one.description, "certificate": one.certificate, "renew": "yes" if one.renew else ""}


def certificate_document(typed: Typed, base: CertificateObject | None, errors: Errors) -> dict[str, Any]:
    """The document after a change; an answered request is gone."""
    document: dict[str, Any] = as_document(base) if base else {}
    text = typed.get("certificate", "").strip()
    document |= {"description": typed.get("description", "").strip(), "certificate": text}
    if base and base.authority:
        document["renew"] = bool(typed.get("renew"))
    if text and base and base.request:
        document["request"] = ""
    return document


def typed_of_authority(one: AuthorityObject) -> Typed:
    return {
        "description": one.description,
        "crl_uris": "\n".join(one.crl_uris),
        "fetch_private": "yes" if one.fetch_private else "",
        "crls": "\n".join(one.crls),
        "intermediates": one.intermediates,
        "publish_uri": one.publish_uri,
    }


def authority_document(typed: Typed, base: AuthorityObject | None, errors: Errors) -> dict[str, Any]:
    document: dict[str, Any] = as_document(base) if base else {}
    *lists, rest = typed.get("crls", "").split(_CRL_END)
    if rest.strip():
        errors["crls"] = f"This is not all lists in PEM: each ends with {_CRL_END}."
    return document | {
        "description": typed.get("description", "").strip(),
        "crl_uris": entries(typed.get("crl_uris", "")),
        "fetch_private": bool(typed.get("fetch_private")),
        "crls": [one.strip() + "\n" + _CRL_END for one in lists],
        "intermediates": typed.get("intermediates", "").strip(),
        "publish_uri": typed.get("publish_uri", "").strip(),
    }


def asked(typed: Typed, errors: Errors, fields: tuple[str, ...]) -> dict[str, Any]:
    """What an action of the API takes, from the fields of the form that it knows."""
    names = lines(typed.get("names", ""))
    body: dict[str, Any] = {name: text for name in fields if (text := typed.get(name, "").strip())}
    if "names" in fields:
        body["names"] = names
    if "common_name" in fields:
        body.setdefault("common_name", (names or [body.get("name", "")])[0][:64])
    if "days" in fields and (days := number(typed, "days", errors)) is not None:
        body["days"] = days
    if "take_names" in fields:
        body["take_names"] = bool(typed.get("take_names"))
    return body
