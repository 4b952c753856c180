"""Authorities and certificates through the API: made, issued, signed, revoked, exported, used by peers."""

import base64
import json
import logging
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from gateway.crypto import authority, containers
from gateway.crypto.authority import Wanted
from gateway.crypto.signatures import PrivateKey
from tests.web.api_lab import SUN, Api, problem

V1 = "/api/v1"
PASSWORD = "a good password"
BY_CERTIFICATE = {
    **SUN,
    "local_auth": [{"method": "certificate", "certificate": "moon"}],
    "remote_auth": [{"method": "certificate", "authorities": ["ca"]}],
}


async def make_authority(client: httpx2.AsyncClient, name: str = "ca", **more: Any) -> dict[str, Any]:
    body = {"name": name, "common_name": f"Lab {name}", **more}
    made = await client.post(f"{V1}/authorities/actions/create", json=body)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()["object"]
    return answer


async def issue(client: httpx2.AsyncClient, name: str = "moon", **more: Any) -> dict[str, Any]:
    body = {"name": name, "common_name": f"{name}.example", "names": [f"{name}.example"], "authority": "ca", **more}
    made = await client.post(f"{V1}/certificates/actions/generate", json=body)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()["object"]
    return answer


async def test_an_authority_issues_below_itself(client: httpx2.AsyncClient) -> None:
    root = await make_authority(client, publish_uri="http://gw.example/ca/")
    assert (root["private_key_set"], root["used_by"], root["publish_uri"]) == (True, [], "http://gw.example/ca")
    assert [(one["subject"], one["key"], one["is_authority"]) for one in root["chain"]] == [
        ("CN=Lab ca", "ECDSA P-384", True)
    ]
    sub = await make_authority(client, "sub", issuer="ca", key_type="ed25519")
    assert [one["subject"] for one in sub["chain"]] == ["CN=Lab sub", "CN=Lab ca"]
    made = await issue(client, authority="sub", names=["moon.example", "192.0.2.1"], days=30)
    assert [one["subject"] for one in made["chain"]] == ["CN=moon.example", "CN=Lab sub"]
    assert made["chain"][0]["names"] == ["moon.example", "192.0.2.1"]
    assert (made["private_key_set"], made["revoked"], made["authority"]) == (True, False, "sub")
    pem = await client.get(f"{V1}/certificates/moon/pem")
    assert len(containers.read_certificates(pem.content)) == 2
    assert b"PRIVATE" not in pem.content
    assert (await client.get(f"{V1}/authorities/sub")).json()["used_by"] == ["certificates/moon"]
    refused = problem(await client.delete(f"{V1}/authorities/sub"), 409, "in-use")
    assert refused["used_by"] == ["certificates/moon"]
    twice = {"name": "moon", "common_name": "x", "authority": "ca"}
    problem(await client.post(f"{V1}/certificates/actions/generate", json=twice), 412, "changed-since")


@pytest.mark.parametrize(
    ("body", "pointer", "told"),
    [
        ({"names": ["not a name"]}, "", "no address, DNS name"),
        ({"authority": "theirs"}, "/authority", "cannot sign"),
        ({"common_name": ""}, "/common_name", "at least 1"),
        ({"days": 0}, "/days", "greater than 0"),
        ({"key_type": "rsa-1024"}, "/key_type", "rsa-3072"),
    ],
)
async def test_what_cannot_be_issued(client: httpx2.AsyncClient, body: dict[str, Any], pointer: str, told: str) -> None:
    made = await make_authority(client)
    await client.put(f"{V1}/authorities/theirs", json={"certificate": made["certificate"]})
    asked = {"name": "moon", "common_name": "moon", "authority": "ca", **body}
    found = problem(await client.post(f"{V1}/certificates/actions/generate", json=asked), 422, "invalid")
    assert [(error["pointer"], told in error["detail"]) for error in found["errors"]] == [(pointer, True)]
    assert (await client.get(f"{V1}/certificates")).json()["items"] == []


async def test_a_request_is_signed_with_the_names_that_are_allowed(client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    asked = authority.request(key, Wanted("wished.example", ("wished.example",)))
    body = {"name": "sun", "common_name": "sun.example", "authority": "ca", "request": asked, "names": ["sun.example"]}
    made = (await client.post(f"{V1}/certificates/actions/sign", json=body)).json()["object"]
    assert (made["chain"][0]["names"], made["private_key_set"]) == (["sun.example"], False)
    taken = {**body, "name": "sun2", "take_names": True}
    made = (await client.post(f"{V1}/certificates/actions/sign", json=taken)).json()["object"]
    assert made["chain"][0]["names"] == ["sun.example", "wished.example"]
    forged = x509.load_pem_x509_csr(asked.encode()).public_bytes(Encoding.DER)[:-1] + b"\0"
    text = (
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.b64encode(forged).decode()
        + "\n-----END CERTIFICATE REQUEST-----"
    )
    found = problem(
        await client.post(f"{V1}/certificates/actions/sign", json={**body, "name": "x", "request": text}),
        422,
        "invalid",
    )
    assert found["errors"][0]["pointer"] == "/request"


async def test_a_request_of_ours_is_answered_elsewhere(client: httpx2.AsyncClient) -> None:
    asked = {"name": "moon", "common_name": "moon.example", "names": ["moon.example"]}
    made = (await client.post(f"{V1}/certificates/actions/csr", json=asked)).json()["object"]
    assert (made["private_key_set"], made["certificate"], made["chain"]) == (True, "", [])
    peer = await client.put(f"{V1}/peers/sun", json={**SUN, "local_auth": BY_CERTIFICATE["local_auth"]})
    assert [one["code"] for one in problem(peer, 422, "invalid")["errors"]] == ["no-certificate"]
    await make_authority(client)
    signed = {"name": "there", "common_name": "moon.example", "authority": "ca", "request": made["request"]}
    answer = (await client.post(f"{V1}/certificates/actions/sign", json=signed)).json()["object"]
    done = await client.patch(f"{V1}/certificates/moon", json={"certificate": answer["certificate"], "request": ""})
    assert done.json()["object"]["chain"][0]["subject"] == "CN=moon.example"
    other = await issue(client, "other")
    wrong = await client.patch(f"{V1}/certificates/moon", json={"certificate": other["certificate"]})
    assert [one["code"] for one in problem(wrong, 422, "invalid")["errors"]] == ["other-key"]


async def test_pkcs12_goes_out_sealed_and_comes_in(api: Api, client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    await issue(client)
    path = f"{V1}/certificates/moon/actions/export-pkcs12"
    problem(await client.post(path, json={"password": "short"}), 422, "invalid")
    exported = await client.post(path, json={"password": PASSWORD})
    assert exported.headers["content-type"] == "application/x-pkcs12"
    bundle = containers.read_pkcs12(exported.content, PASSWORD.encode())
    assert len(bundle.chain) == 2
    assert api.gateway.journal.latest(1)[0].kind == "certificate.exported"
    body = {"name": "copy", "pkcs12": base64.b64encode(exported.content).decode(), "password": PASSWORD}
    made = await client.post(f"{V1}/certificates/actions/import-pkcs12", json=body)
    assert (made.json()["object"]["private_key_set"], len(made.json()["object"]["chain"])) == (True, 1)
    wrong = await client.post(f"{V1}/certificates/actions/import-pkcs12", json={**body, "password": "no"})
    assert "password is wrong" in problem(wrong, 422, "invalid")["errors"][0]["detail"]
    async with api.client(await api.token(["config:write"], "writer")) as writer:  # type: ignore[list-item]
        problem(await writer.post(path, json={"password": PASSWORD}), 403, "missing-scope")


@pytest.mark.parametrize("kind", ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
async def test_ml_dsa_from_root_to_leaf(client: httpx2.AsyncClient, kind: str) -> None:
    await make_authority(client, key_type=kind)
    sub = await make_authority(client, "sub", issuer="ca", key_type=kind)
    assert [one["key"] for one in sub["chain"]] == [kind.upper()] * 2
    made = await issue(client, authority="sub", names=["moon.example"], key_type=kind)
    assert (made["chain"][0]["key"], made["private_key_set"]) == (kind.upper(), True)
    renewed = await client.post(f"{V1}/certificates/moon/actions/renew", json={"key_type": kind})
    assert renewed.json()["object"]["chain"][0]["serial"] != made["chain"][0]["serial"]
    own = {"local_auth": BY_CERTIFICATE["local_auth"], "local_id": "moon.example"}
    assert (await client.put(f"{V1}/peers/sun", json={**SUN, **own})).status_code == 201
    exported = await client.post(f"{V1}/certificates/moon/actions/export-pkcs12", json={"password": PASSWORD})
    refused = problem(exported, 422, "invalid")["errors"][0]
    assert (refused["pointer"], "sign its request" in refused["detail"]) == ("/password", True)
    asked = {"name": "ours", "common_name": "ours.example", "key_type": kind}
    request = (await client.post(f"{V1}/certificates/actions/csr", json=asked)).json()["object"]["request"]
    signed = {"name": "there", "common_name": "there.example", "authority": "sub", "request": request}
    answer = (await client.post(f"{V1}/certificates/actions/sign", json=signed)).json()["object"]
    assert answer["chain"][0]["key"] == kind.upper()


async def test_a_revoked_certificate_is_in_list_and_answers_for_good(api: Api, client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    made = await issue(client)
    await issue(client, "keep")
    before = (await client.get(f"{V1}/revisions")).json()["items"][0]["number"]
    async with api.client() as nobody:
        assert (await nobody.get(f"{V1}/authorities/ca/crl")).status_code == 200
        revoked = await client.post(f"{V1}/certificates/moon/actions/revoke", json={"reason": "key-compromise"})
        assert revoked.json()["object"]["revoked"] is True
        await client.post(f"{V1}/revisions/{before}/actions/restore")
        await client.patch(f"{V1}/authorities/ca", json={"revoked": []})
        assert (await client.get(f"{V1}/certificates/moon")).json()["revoked"] is True

        crl = x509.load_der_x509_crl((await nobody.get(f"{V1}/authorities/ca/crl")).content)
        assert [f"{entry.serial_number:x}" for entry in crl] == [made["chain"][0]["serial"]]
        root = containers.read_certificates((await client.get(f"{V1}/authorities/ca")).json()["certificate"].encode())[
            0
        ]
        leaf = containers.read_certificates(made["certificate"].encode())[0]
        question = ocsp.OCSPRequestBuilder().add_certificate(leaf, root, hashes.SHA1()).build()
        octets = question.public_bytes(Encoding.DER)
        for asked in (
            nobody.post(
                f"{V1}/authorities/ca/ocsp", content=octets, headers={"content-type": "application/ocsp-request"}
            ),
            nobody.get(f"{V1}/authorities/ca/ocsp/{base64.b64encode(octets).decode().replace('/', '%2F')}"),
        ):
            answer = ocsp.load_der_ocsp_response((await asked).content)
            assert answer.certificate_status == ocsp.OCSPCertStatus.REVOKED
            assert answer.revocation_reason == x509.ReasonFlags.key_compromise
        problem(await nobody.get(f"{V1}/authorities/none/crl"), 404, "not-found")
    snapshot = api.gateway.config.snapshot()
    assert x509.load_der_x509_crl(snapshot.authorities["ca"].crls[0]).get_revoked_certificate_by_serial_number(
        leaf.serial_number
    )


async def test_a_root_has_the_lists_of_what_is_below_it(api: Api, client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    await make_authority(client, "sub", issuer="ca")
    await make_authority(client, "other")
    authorities = api.gateway.config.snapshot().authorities
    assert [len(authorities[name].crls) for name in ("ca", "sub", "other")] == [2, 1, 1]
    assert set(authorities["sub"].crls) < set(authorities["ca"].crls)
    before = authorities["ca"].crls
    await client.put(f"{V1}/peers/sun", json=SUN)
    assert api.gateway.config.snapshot().authorities["ca"].crls == before, "a list is not made anew for nothing"


async def test_a_peer_names_its_proofs(api: Api, client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    await issue(client)
    made = await client.put(f"{V1}/peers/sun", json=BY_CERTIFICATE)
    assert made.status_code == 201, made.text
    assert (await client.get(f"{V1}/certificates/moon")).json()["used_by"] == ["peers/sun"]
    assert (await client.get(f"{V1}/authorities/ca")).json()["used_by"] == ["peers/sun", "certificates/moon"]
    problem(await client.delete(f"{V1}/certificates/moon"), 409, "in-use")
    peer = api.gateway.config.snapshot().peers["sun"]
    assert (peer.local_auth[0].method, peer.local_auth[0].credential) == ("certificate", "moon")
    assert peer.remote_auth[0].authorities == ("ca",)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    raw = {"method": "public-key", "public_keys": [pem]}
    patched = await client.patch(f"{V1}/peers/sun", json={"remote_auth": [raw]})
    assert patched.status_code == 200, patched.text
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert api.gateway.config.snapshot().peers["sun"].remote_auth[0].public_keys == (der,)


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"local_auth": [{"method": "certificate"}]}, [("/local_auth/0/certificate", "missing")]),
        (
            {"local_auth": [{"method": "certificate", "certificate": "none"}]},
            [("/local_auth/0/certificate", "unknown-reference")],
        ),
        ({"local_auth": [{"certificate": "moon"}]}, [("/local_auth/0/certificate", "not-used")]),
        (
            {"local_auth": [{"method": "certificate", "certificate": "moon", "scheme": "rot13"}]},
            [("/local_auth/0/scheme", "unknown-scheme")],
        ),
        (
            {"local_auth": [{"eap_server": "no name"}]},
            [("/local_auth/0/eap_server", "invalid-identity")],
        ),
        (
            {"local_auth": [{"method": "eap"}]},
            [("/local_auth/0/eap_identity", "missing"), ("/local_auth/0/method", "missing")],
        ),
        (
            {"remote_auth": [{"method": "certificate", "authorities": ["none"]}]},
            [("/remote_auth/0/authorities/0", "unknown-reference")],
        ),
        ({"remote_auth": [{"method": "public-key"}]}, [("/remote_auth/0/public_keys", "missing")]),
        (
            {"remote_auth": [{"method": "public-key", "public_keys": ["AAAA"]}]},
            [("/remote_auth/0/public_keys/0", "invalid-key")],
        ),
        ({"remote_auth": []}, [("/remote_auth", "too_short")]),
    ],
)
async def test_proofs_that_cannot_be(
    client: httpx2.AsyncClient, fields: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    await make_authority(client)
    await issue(client)
    found = problem(await client.put(f"{V1}/peers/sun", json={**SUN, **fields}), 422, "invalid")["errors"]
    assert [(error["pointer"], error["code"]) for error in found] == errors


async def test_a_renewed_certificate_is_used_at_once_and_disturbs_nothing(api: Api, client: httpx2.AsyncClient) -> None:
    await make_authority(client)
    made = await issue(client)
    await client.put(f"{V1}/peers/sun", json=BY_CERTIFICATE)
    for body in ({}, {"key_type": "ed25519"}):
        renewed = await client.post(f"{V1}/certificates/moon/actions/renew", json=body)
        assert renewed.status_code == 200, renewed.text
        impact = renewed.json()["impact"]
        assert (impact["renegotiate"], impact["removed"], impact["added"]) == ([], [], [])
        assert renewed.json()["object"]["chain"][0]["serial"] != made["chain"][0]["serial"]
    chain = api.gateway.config.snapshot().credentials["moon"].chain
    assert x509.load_der_x509_certificate(chain[0]).serial_number == int(
        renewed.json()["object"]["chain"][0]["serial"], 16
    )
    foreign = {"certificate": made["certificate"], "private_key": None}
    await client.put(f"{V1}/certificates/foreign", json=foreign)
    problem(await client.post(f"{V1}/certificates/foreign/actions/renew"), 422, "invalid")


async def test_documents_carry_certificates_and_take_keys(client: httpx2.AsyncClient) -> None:
    key = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    root = authority.create_root(key, Wanted("Lab"), 1_760_000_000.0, lambda octets: b"\x11" * octets)
    document = {
        "apiVersion": "ikegate/v1",
        "authorities": [{"name": "ca", "certificate": containers.pem(root), "private_key": containers.key_pem(key)}],
    }
    applied = await client.put(f"{V1}/config", json=document)
    assert applied.status_code == 200, applied.text
    exported = (await client.get(f"{V1}/config/export?format=json")).json()
    assert "private_key" not in exported["authorities"][0]
    assert exported["authorities"][0]["certificate"] == containers.pem(root).strip()
    assert (await client.put(f"{V1}/config", json=exported)).json()["changed"] is False
    assert (await client.get(f"{V1}/authorities/ca")).json()["private_key_set"] is True
    garbled = {**document, "authorities": [{**document["authorities"][0], "private_key": "nonsense"}]}  # type: ignore[index,dict-item]
    found = problem(await client.put(f"{V1}/config", json=garbled), 422, "invalid")["errors"]
    assert [(error["pointer"], error["code"]) for error in found] == [
        ("/authorities/0/private_key", "invalid-private-key")
    ]
    assert "nonsense" not in str(found)


async def test_a_private_key_never_comes_out(
    api: Api, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in an answer nor in an event, a log line, a difference, an export, a representation or a file."""
    caplog.set_level(logging.DEBUG)
    said: list[bytes] = []

    async def record(response: httpx2.Response) -> None:
        said.append(await response.aread())

    client.event_hooks = {"response": [record]}
    await make_authority(client)
    await issue(client)
    await client.put(f"{V1}/peers/sun", json={**BY_CERTIFICATE, "eap_password": "tulips-in-may"})
    await client.post(f"{V1}/certificates/moon/actions/renew", json={"key_type": "ecdsa-p384"})
    exported = await client.get(f"{V1}/config/export?format=json")
    await client.put(f"{V1}/config?dry_run=true&prune=true", json={"apiVersion": "ikegate/v1"})
    for path in ("certificates", "certificates/moon", "authorities/ca", "peers/sun", "revisions", "events/history"):
        await client.get(f"{V1}/{path}")
    await client.get(f"{V1}/revisions/{exported.headers['etag'].strip(chr(34))}/differences")
    keys = [containers.read_private_key(one) for kind, one in _secrets(api) if kind != "peers"]
    assert len(keys) == 2
    inside = [_private_number(key) for key in keys]
    config = api.gateway.config
    shown = repr([config.inventory, config.snapshot(), api.gateway.status(), api.gateway.journal.latest(10_000)])
    everywhere = b"\n".join([*said, caplog.text.encode(), shown.encode(), json.dumps(config.export()).encode()])
    stored = b"\n".join(path.read_bytes() for path in api.data.rglob("*") if path.is_file())
    for octets in (*inside, b"tulips-in-may"):
        for shape in (octets, octets.hex().encode(), base64.b64encode(octets)[:-4], repr(octets).encode()[2:-1]):
            assert shape not in everywhere
            assert shape not in stored
    assert b"PRIVATE KEY" not in everywhere + stored


def _secrets(api: Api) -> list[tuple[str, bytes]]:
    return [(kind, secret) for (kind, _), secret in api.gateway.config.inventory.secrets.items()]


def _private_number(key: PrivateKey) -> bytes:
    assert isinstance(key.unwrapped, ec.EllipticCurvePrivateKey)
    return key.unwrapped.private_numbers().private_value.to_bytes(48)


async def test_a_dry_run_says_that_a_key_would_be_kept(api: Api, client: httpx2.AsyncClient) -> None:
    body = {"name": "new", "common_name": "Lab new"}
    dry = await client.post(f"{V1}/authorities/actions/create?dry_run=true", json=body)
    assert dry.json()["object"]["private_key_set"] is True
    await make_authority(client)
    leaf = {"name": "moon", "common_name": "moon.example", "authority": "ca"}
    dry = await client.post(f"{V1}/certificates/actions/generate?dry_run=true", json=leaf)
    assert dry.json()["object"]["private_key_set"] is True
    for more, kept in (({"password": "open sesame, please"}, True), ({}, False)):
        dry = await client.put(f"{V1}/users/anna?dry_run=true", json={"login": "anna", **more})
        assert dry.json()["object"]["password_set"] is kept
    assert not api.gateway.config.inventory.users


@pytest.mark.parametrize(("start", "fine"), [("always", False), ("on-demand", False), ("passive", True)])
async def test_who_is_called_and_proves_itself_by_eap_needs_a_round_of_ours(
    client: httpx2.AsyncClient, start: str, fine: bool
) -> None:
    children = [{**one, "start": start} for one in SUN["children"]]
    body = {**SUN, "children": children, "remote_auth": [{"method": "eap"}]}
    answered = await client.put(f"{V1}/peers/sun", json=body)
    if fine:
        assert answered.status_code == 201
    else:
        found = problem(answered, 422, "invalid")["errors"]
        assert [(one["pointer"], one["code"]) for one in found] == [("/remote_auth/0/method", "eap-alone")]
