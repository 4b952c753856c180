"""How both sides of a tunnel prove themselves, as its form asks it: one round a side.

What the form does not ask (several rounds, a password of ours for EAP, a signature scheme) stays as it is: the choice
`keep`.
"""

from typing import Any

from gateway.service.documents import as_document
from gateway.storage.identity import LocalAuthFields, RemoteAuthFields
from gateway.storage.peers import PeerObject
from web.console.forms.fields import Typed, lines

KEEP = "keep"
NEW: Typed = {"local_method": "psk", "remote_method": "psk", "revocation": "if-reachable"}
FIELDS = (
    (r"/local_auth(/[0-9]+)?(/method)?", "local_method"),
    (r"/local_auth/[0-9]+/certificate", "local_certificate"),
    (r"/local_auth/[0-9]+/(eap_identity|eap_server)", r"\1"),
    (r"/local_auth/[0-9]+/eap_methods(/.*)?", "local_method"),
    (r"/remote_auth(/[0-9]+)?(/method)?", "remote_method"),
    (r"/remote_auth/[0-9]+/authorities(/.*)?", "remote_authority"),
    (r"/remote_auth/[0-9]+/public_keys(/.*)?", "remote_keys"),
    (r"/remote_auth/[0-9]+/revocation", "revocation"),
    (r"/remote_auth/[0-9]+/eap_methods(/.*)?", "eap_method"),
)
_TLS = ("tls",)
_KEY_BREAK = "-----END PUBLIC KEY-----"


def typed_of(peer: PeerObject) -> Typed:
    """What the form shows of a peer's proofs."""
    return _typed_local(peer.local_auth) | _typed_remote(peer.remote_auth)


def _typed_local(rounds: tuple[LocalAuthFields, ...]) -> Typed:
    first = rounds[0]
    plain = LocalAuthFields(method=first.method, certificate=first.certificate)
    if first.method == "eap":
        asked = {"eap_identity": first.eap_identity, "eap_server": first.eap_server}
        plain = plain.model_copy(update={**asked, "eap_methods": _TLS})
        if rounds == (plain,):
            return {"local_method": "eap", "local_certificate": first.certificate, **asked}
    if rounds != (plain,):
        return {"local_method": KEEP}
    return {"local_method": first.method, "local_certificate": first.certificate}


def _typed_remote(rounds: tuple[RemoteAuthFields, ...]) -> Typed:
    first = rounds[0]
    asked = len(first.eap_methods) <= (first.method == "eap") and len(first.authorities) <= 1
    if len(rounds) > 1 or not asked or first.sha1 or (first.method == "eap" and first.public_keys):
        return {"remote_method": KEEP, "revocation": first.revocation}
    return {
        "remote_method": first.method,
        "remote_authority": next(iter(first.authorities), ""),
        "remote_keys": "\n".join(first.public_keys),
        "revocation": first.revocation,
        "eap_method": next(iter(first.eap_methods), ""),
    }


def document_of(typed: Typed, base: PeerObject | None) -> dict[str, Any]:
    """The rounds for the peer's document; a side that the form did not send, or that is kept, stays."""
    document: dict[str, Any] = {}
    local, remote = typed.get("local_method", KEEP), typed.get("remote_method", KEEP)
    if local != KEEP:
        certificate = typed.get("local_certificate", "") if local != "psk" else ""
        document["local_auth"] = [{"method": local, "certificate": certificate, **_our_eap(typed, local)}]
    if remote != KEEP:
        authority = typed.get("remote_authority", "") if remote in ("certificate", "eap") else ""
        eap_method = typed.get("eap_method", "") if remote == "eap" else ""
        keys = _keys(typed.get("remote_keys", "")) if remote == "public-key" else []
        revocation = typed.get("revocation") or "if-reachable"
        document["remote_auth"] = [
            {
                "method": remote,
                "authorities": [authority] if authority else [],
                "public_keys": keys,
                "revocation": revocation,
                "eap_methods": [eap_method] if eap_method else [],
            }
        ]
    if base is None:
        return document
    kept = as_document(base)
    return {name: document.get(name, kept[name]) for name in ("local_auth", "remote_auth")}


def _our_eap(typed: Typed, method: str) -> dict[str, Any]:
    """EAP-TLS alone: a password of ours is no matter for this form."""
    if method != "eap":
        return {}
    return {"eap_methods": list(_TLS), **{name: typed.get(name, "").strip() for name in ("eap_identity", "eap_server")}}


def _keys(text: str) -> list[str]:
    """One key a PEM block, or one a line."""
    if _KEY_BREAK in text:
        return [part.strip() + "\n" + _KEY_BREAK for part in text.split(_KEY_BREAK) if part.strip()]
    return lines(text)


def needs_key(typed: Typed) -> bool:
    """Whether a side proves itself by a pre-shared key."""
    return "psk" in (typed.get("local_method", "psk"), typed.get("remote_method", "psk"))
