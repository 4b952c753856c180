"""Certificates and authorities by forms alone: made, issued, used by a tunnel, revoked, handed out."""

import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.crypto import authority, containers
from gateway.crypto.authority import Wanted
from gateway.crypto.reasons import REASONS
from gateway.crypto.signatures import PrivateKey
from gateway.service.authorities import facts_of
from gateway.service.manage import Terms
from gateway.storage.identity import RevokedFields
from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import Person
from tests.web.forms import values
from tests.web.test_console_rules import said
from web.api.authorities import CreateBody
from web.console.forms import certificates as forms
from web.console.views import certificates as view

PASSWORD = "a good password"
AUTHORITY = {"how": "create", "name": "ca", "common_name": "Lab", "days": "3650", "key_type": "ecdsa-p384"}
CERTIFICATE = {
    "how": "generate",
    "name": "moon",
    "names": "moon.example\n192.0.2.1",
    "authority": "ca",
    "profile": "gateway",
    "days": "90",
    "key_type": "ed25519",
}
TUNNEL = {
    "name": "sun",
    "side": "calls",
    "remote_id": "sun.example",
    "local_id": "moon.example",
    "child-0-name": "net",
    "child-0-local": "10.1.0.0/24",
    "child-0-remote": "10.2.0.0/24",
    "child-0-start": "passive",
    "local_method": "certificate",
    "local_certificate": "moon",
    "remote_method": "certificate",
    "remote_authority": "ca",
    "revocation": "strict",
    "action": "save",
}


async def issued(person: Person) -> None:
    await person.send("/authorities/new", AUTHORITY)
    await person.send("/certificates/new", CERTIFICATE)


async def test_an_authority_and_what_it_issues(person: Person) -> None:
    empty = await person.look("/credentials")
    assert "No authority is stored yet" in empty.source
    made = await person.send("/authorities/new", AUTHORITY)
    assert made.headers["location"] == "/authorities/ca"
    below = {**AUTHORITY, "name": "sub", "common_name": "", "issuer": "ca"}
    await person.send("/authorities/new", below)
    await person.send("/certificates/new", {**CERTIFICATE, "authority": "sub"})
    page = await person.look("/certificates/moon")
    for text in ("Root authority", "CN=Lab", "CN=sub", "CN=moon.example", "Ed25519", "192.0.2.1", "Valid"):
        assert text in page.source, text
    assert page.source.index("CN=Lab") < page.source.index("CN=sub") < page.source.index("CN=moon.example")
    listed = await person.look("/credentials")
    assert "/certificates/moon" in listed.source
    assert "/authorities/sub" in listed.source
    again = await person.send("/certificates/new", {**CERTIFICATE, "authority": "sub"}, 422)
    assert "There is one of this name already." in again.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "Not a name"}, "Use 1 to 63"),
        ({"names": "not a name"}, "is no address, DNS name"),
        ({"days": "long"}, "Write a number."),
        ({"authority": ""}, "authority"),
        ({"how": "sign", "request": "nonsense"}, "no certificate request"),
        ({"how": "pem", "certificate": "nonsense"}, "no certificate"),
        ({"how": "pem", "certificate": ""}, "This is needed"),
        ({"how": "pkcs12"}, "Choose the file."),
    ],
)
async def test_what_cannot_be_made_is_told_beside_its_field(person: Person, change: dict[str, str], told: str) -> None:
    await person.send("/authorities/new", AUTHORITY)
    answer = await person.send("/certificates/new", {**CERTIFICATE, **change}, 422)
    assert told in answer.text
    assert not person.gateway.config.inventory.certificates


async def test_a_tunnel_that_proves_itself_by_certificates(person: Person) -> None:
    await issued(person)
    form = await person.look("/tunnels/new")
    assert "How they prove themselves" in form.source
    saved = await person.send("/tunnels/new", TUNNEL)
    assert saved.headers["location"] == "/tunnels/sun"
    peer = person.gateway.config.peer("sun")
    assert (peer.local_auth[0].method, peer.local_auth[0].certificate) == ("certificate", "moon")
    assert (peer.remote_auth[0].authorities, peer.remote_auth[0].revocation) == (("ca",), "strict")
    assert not person.gateway.config.inventory.psks
    settings = await person.look("/tunnels/sun/settings")
    chosen = [one.attributes["value"] for one in settings.all("option") if "selected" in one.attributes]
    assert {"certificate", "moon", "ca", "strict"} <= set(chosen)
    wrong = await person.send("/tunnels/sun/settings", {**TUNNEL, "local_certificate": "none"}, 422)
    assert "there is no certificate" in wrong.text.lower()
    used = await person.look("/certificates/moon")
    assert "/tunnels/sun" in used.source
    stays = await person.look("/certificates/moon/delete")
    assert "give them another one first" in stays.source
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    raw = {**TUNNEL, "remote_method": "public-key", "remote_keys": pem * 2, "enabled": "yes"}
    await person.send("/tunnels/sun/settings", raw)
    assert len(person.gateway.config.peer("sun").remote_auth[0].public_keys) == 2


@pytest.mark.parametrize("method", ["", "mschapv2", "tls", "md5", "radius"])
async def test_a_tunnel_whose_other_side_proves_itself_by_eap(person: Person, method: str) -> None:
    await issued(person)
    form = {**TUNNEL, "remote_method": "eap", "eap_method": method}
    await person.send("/tunnels/new", form)
    asked = person.gateway.config.peer("sun").remote_auth[0]
    wanted = ("eap", (method,) if method else (), ("ca",), "strict")
    assert (asked.method, asked.eap_methods, asked.authorities, asked.revocation) == wanted
    settings = values(await person.look("/tunnels/sun/settings"))
    assert (settings["remote_method"], settings["eap_method"]) == ("eap", method)
    before = person.gateway.config.revision
    await person.send("/tunnels/sun/settings", settings | {"action": "save"})
    assert person.gateway.config.revision == before
    await person.send("/tunnels/sun/settings", settings | {"action": "save", "remote_method": "certificate"})
    asked = person.gateway.config.peer("sun").remote_auth[0]
    assert (asked.method, asked.eap_methods) == ("certificate", ())


async def test_our_eap_names_the_server_that_it_believes(person: Person) -> None:
    await issued(person)
    form = {**TUNNEL, "local_method": "eap", "eap_identity": "moon", "eap_server": "radius.example"}
    wrong = await person.send("/tunnels/new", {**form, "eap_server": "no name"}, 422)
    assert "eap_server" in said(Page(wrong.text))
    lacking = await person.send("/tunnels/new", {**form, "local_certificate": "none"}, 422)
    assert "EAP-TLS needs a certificate of ours" in said(Page(lacking.text))["local_certificate"]
    await person.send("/tunnels/new", form)
    (ours,) = person.gateway.config.peer("sun").local_auth
    assert (ours.method, ours.eap_methods, ours.certificate) == ("eap", ("tls",), "moon")
    assert (ours.eap_identity, ours.eap_server) == ("moon", "radius.example")
    page = await person.look("/tunnels/sun/settings")
    assert "such as a RADIUS server behind the other side" in page.source
    settings = values(page)
    assert (settings["local_method"], settings["eap_server"]) == ("eap", "radius.example")
    before = person.gateway.config.revision
    await person.send("/tunnels/sun/settings", settings | {"action": "save"})
    assert person.gateway.config.revision == before
    await person.send("/tunnels/sun/settings", settings | {"action": "save", "local_method": "certificate"})
    (ours,) = person.gateway.config.peer("sun").local_auth
    assert (ours.method, ours.eap_methods, ours.eap_identity, ours.eap_server) == ("certificate", (), "", "")


async def test_our_eap_by_a_password_stays_as_it_is(person: Person) -> None:
    await issued(person)
    await person.send("/tunnels/new", TUNNEL)
    change = {"local_auth": [{"method": "eap", "eap_identity": "moon"}], "eap_password": "tulips-in-may"}
    await person.gateway.config.patch("peers", "sun", change, LAB)
    settings = values(await person.look("/tunnels/sun/settings"))
    assert settings["local_method"] == "keep"
    await person.send("/tunnels/sun/settings", settings | {"action": "save", "description": "by a password"})
    peer = person.gateway.config.peer("sun")
    assert (peer.local_auth[0].eap_identity, peer.description) == ("moon", "by a password")


async def test_several_methods_of_eap_stay_as_they_are(person: Person) -> None:
    await issued(person)
    await person.send("/tunnels/new", TUNNEL)
    both = [{"method": "eap", "eap_methods": ["mschapv2", "tls"]}]
    await person.gateway.config.patch("peers", "sun", {"remote_auth": both}, LAB)
    settings = values(await person.look("/tunnels/sun/settings"))
    assert settings["remote_method"] == "keep"
    await person.send("/tunnels/sun/settings", settings | {"action": "save", "description": "two methods"})
    peer = person.gateway.config.peer("sun")
    assert (peer.remote_auth[0].eap_methods, peer.description) == (("mschapv2", "tls"), "two methods")


async def test_a_method_of_eap_that_is_none_is_said_beside_its_field(person: Person) -> None:
    await issued(person)
    wrong = await person.send("/tunnels/new", {**TUNNEL, "remote_method": "eap", "eap_method": "leap"}, 422)
    assert "radius" in said(Page(wrong.text))["eap_method"]


async def test_a_form_keeps_the_proofs_that_it_does_not_ask(person: Person) -> None:
    await issued(person)
    await person.send("/tunnels/new", TUNNEL)
    rounds: list[dict[str, Any]] = [
        {"method": "certificate", "certificate": "moon"},
        {"method": "certificate", "certificate": "moon", "scheme": "ed25519"},
    ]
    await person.gateway.config.patch("peers", "sun", {"local_auth": rounds}, LAB)
    settings = await person.look("/tunnels/sun/settings")
    assert "As it is now" in settings.source
    form = {**TUNNEL, "local_method": "keep", "enabled": "yes", "description": "two rounds"}
    await person.send("/tunnels/sun/settings", form)
    peer = person.gateway.config.peer("sun")
    assert (len(peer.local_auth), peer.description) == (2, "two rounds")


async def test_revoked_for_good_once_its_name_is_typed(person: Person) -> None:
    await issued(person)
    refused = await person.send("/certificates/moon/revoke", {"confirm": "mon", "reason": "superseded"}, 422)
    assert "Type moon exactly" in refused.text
    await person.send("/certificates/moon/revoke", {"confirm": "moon", "reason": "superseded"})
    page = await person.look("/certificates/moon")
    assert "Revoked" in page.source
    assert "Revoke moon" not in page.source
    assert "superseded" in (await person.look("/authorities/ca")).source


async def test_renewed_and_handed_out(person: Person) -> None:
    await issued(person)
    before = person.gateway.config.inventory.certificates["moon"].certificate
    await person.send("/certificates/moon/renew", {})
    after = person.gateway.config.inventory.certificates["moon"].certificate
    assert after != before
    pem = await person.get("/certificates/moon/pem")
    assert pem.text.strip() == after
    short = await person.send("/certificates/moon/export", {"password": "short"}, 422)
    assert "8 to 1,024 characters" in short.text
    await person.send("/certificates/moon/export", {"password": "x" * 1025}, 422)
    answer = await person.client.post("/certificates/moon/export", data={"password": PASSWORD})
    assert answer.headers["content-disposition"] == 'attachment; filename="moon.p12"'
    bundle = containers.read_pkcs12(answer.content, PASSWORD.encode())
    assert bundle.chain[0].subject.rfc4514_string() == "CN=moon.example"
    files = {"pkcs12": ("moon.p12", answer.content, "application/x-pkcs12")}
    form = {"how": "pkcs12", "name": "copy", "password": PASSWORD}
    brought = await person.client.post("/certificates/new", data=form, files=files)
    assert brought.headers["location"] == "/certificates/copy"
    wrong = await person.client.post("/certificates/new", data={**form, "name": "x", "password": "no"}, files=files)
    assert wrong.status_code == 422
    assert "password is wrong" in wrong.text


async def test_a_request_of_ours_waits_for_its_answer(person: Person) -> None:
    await person.send("/certificates/new", {**CERTIFICATE, "how": "csr", "authority": ""})
    page = await person.look("/certificates/moon")
    assert "BEGIN CERTIFICATE REQUEST" in page.source
    asked = person.gateway.config.inventory.certificates["moon"].request
    key = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    now = 1_760_000_000.0
    root = authority.Issuer(authority.create_root(key, Wanted("Elsewhere"), now, lambda n: b"\7" * n), key)
    public = authority.requested_key(containers.read_request(asked.encode()))
    signed = containers.pem(authority.issue(root, public, Wanted("moon"), now, lambda n: b"\x09" * n))
    etag = person.gateway.config.etag("certificates", "moon")
    await person.send("/certificates/moon", {"certificate": signed, "description": "", "etag": etag})
    stored = person.gateway.config.inventory.certificates["moon"]
    assert (stored.certificate, stored.request) == (signed.strip(), "")
    trust = {"how": "trust", "name": "elsewhere", "certificate": containers.pem(root.certificate)}
    await person.send("/authorities/new", trust)
    assert "its private key is elsewhere" in (await person.look("/authorities/elsewhere")).source
    chain = await person.look("/certificates/moon")
    assert chain.source.index("CN=Elsewhere") < chain.source.index("CN=moon")


async def test_a_private_key_is_never_shown_again(person: Person) -> None:
    key = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    pem = containers.key_pem(key)
    form = {"how": "pem", "name": "Bad name", "private_key": pem, "password": "tulips in may"}
    answer = await person.send("/certificates/new", form, 422)
    assert pem.splitlines()[1] not in answer.text
    assert "tulips in may" not in answer.text
    await person.send("/certificates/new", {**form, "name": "raw"})
    for path in ("/certificates/raw", "/credentials", "/certificates/raw/delete"):
        assert pem.splitlines()[1] not in (await person.look(path)).source


async def trust_elsewhere(person: Person) -> None:
    key = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    root = authority.create_root(key, Wanted("Elsewhere"), 1_760_000_000.0, lambda n: b"\7" * n)
    trust = {"how": "trust", "name": "elsewhere", "certificate": containers.pem(root)}
    await person.send("/authorities/new", trust)


async def test_a_list_that_breaks_off_is_not_left_out_in_silence(person: Person) -> None:
    await trust_elsewhere(person)
    whole = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    for crls in ("no list", whole + "-----BEGIN X509 CRL-----\nAAAA"):
        form = {"crls": crls, "etag": person.gateway.config.etag("authorities", "elsewhere")}
        answer = await person.send("/authorities/elsewhere", form, 422)
        assert "This is not all lists in PEM" in answer.text
    assert not person.gateway.config.inventory.authorities["elsewhere"].crls


async def test_what_cannot_be_fetched_is_shown_with_its_reason(person: Person) -> None:
    await trust_elsewhere(person)
    etag = person.gateway.config.etag("authorities", "elsewhere")
    form = {"crl_uris": "http://127.0.0.1:1/<script>", "etag": etag}
    await person.send("/authorities/elsewhere", form)
    told = await person.send("/authorities/elsewhere/fetch", {})
    assert told.headers["location"] == "/authorities/elsewhere"
    page = await person.look("/authorities/elsewhere")
    assert "leads to 127.0.0.1, which is this machine itself" in page.source
    assert "<script>" not in page.source.replace("<script src", "")


async def test_an_authority_that_was_revoked_says_so(person: Person) -> None:
    config = person.gateway.config
    for name, issuer in (("top", ""), ("below", "top")):
        order = CreateBody(name=name, common_name=f"Lab {name}", issuer=issuer).order()
        await person.gateway.issuing.create_authority(order, Terms("test"), issuer, "")
    inventory = config.inventory
    serial = facts_of(inventory.authorities["below"].certificate)[0].serial
    gone = inventory.authorities["top"].model_copy(update={"revoked": (RevokedFields(serial=serial, at=1.0),)})
    inventory = replace(inventory, authorities={**inventory.authorities, "top": gone})
    now = time.time()
    assert {row.name: row.state.word for row in view.authority_rows(inventory, now)} == {
        "top": "Valid",
        "below": "Revoked",
    }
    assert view.chain_of(inventory, inventory.authorities["below"], now)[-1].state.word == "Revoked"


def test_the_reasons_offered_are_reasons() -> None:
    assert set(dict(forms.REASONS)) <= set(REASONS)
