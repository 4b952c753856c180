"""Lists and OCSP answers by plain HTTP, to strangers: what is served, and that nothing else is."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.crypto import authority as ca
from gateway.crypto.authority import Wanted
from gateway.crypto.certificates import Certificate, at_time
from gateway.crypto.containers import der, key_pem, pem
from gateway.crypto.published import distribution_points, responders
from gateway.crypto.revocation import State, standing
from gateway.crypto.revoking import Revoked, answer_ocsp
from gateway.crypto.signatures import PrivateKey
from gateway.policy.authentication import Credential
from gateway.service import publishing
from gateway.service.authorities import authority_chain
from gateway.service.fetching import fetch
from gateway.service.issuing import Issuing, Order
from gateway.service.publishing import Publishing, published_at
from gateway.settings import Settings
from tests.service.years import DAY, ME, Elsewhere, Years, trust


@pytest.fixture
async def open_door(years: Years) -> AsyncIterator[Publishing]:
    await years.prepare()
    made = Publishing(years.config, years.issuing)
    await made.open("127.0.0.1", 0)
    assert made.problems == ()
    yield made
    await made.close()


async def said(door: Publishing, *octets: bytes) -> tuple[int, bytes]:
    """The status and the body of what is answered to these octets; 0 for nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        for part in octets:
            writer.write(part)
            await writer.drain()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    return int(head.split(b" ")[1]) if head else 0, body


def get(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: ca.example\r\n\r\n".encode()


def question(years: Years, name: str) -> bytes:
    (issuer,) = authority_chain(years.config.inventory, "ca")
    one = x509.load_pem_x509_certificate(years.config.inventory.certificates[name].certificate.encode())
    builder = ocsp.OCSPRequestBuilder().add_certificate(one, issuer, hashes.SHA1())
    return builder.build().public_bytes(Encoding.DER)


async def test_the_list_is_there(years: Years, open_door: Publishing) -> None:
    found = await fetch(f"http://ca.example:{open_door.port}/ca/crl", loopback=True, resolver=_here)
    assert found == years.config.revocation_list("ca")
    assert await said(open_door, get("/ca/crl", "HEAD")) == (200, b"")
    assert (await said(open_door, get("http://proxy.example/ca/crl?x=y")))[0] == 200
    await years.issuing.revoke("phone", "key-compromise", ME)
    again = x509.load_der_x509_crl((await said(open_door, get("/ca/crl")))[1])
    assert [f"{one.serial_number:x}" for one in again] == [years.serial("phone")]


async def _here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_a_question_is_answered_by_post_and_by_get(years: Years, open_door: Publishing) -> None:
    asked = question(years, "phone")
    uri = f"http://ca.example:{open_door.port}/ca/ocsp"
    post = await fetch(uri, loopback=True, body=asked, media_type="application/ocsp-request", resolver=_here)
    in_address = quote(base64.b64encode(asked).decode(), safe="")
    for octets in (post, await fetch(f"{uri}/{in_address}", loopback=True, resolver=_here)):
        assert ocsp.load_der_ocsp_response(octets).certificate_status == ocsp.OCSPCertStatus.GOOD
    await years.issuing.revoke("phone", "key-compromise", ME)
    post = await fetch(uri, loopback=True, body=asked, media_type="application/ocsp-request", resolver=_here)
    assert ocsp.load_der_ocsp_response(post).certificate_status == ocsp.OCSPCertStatus.REVOKED


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (get("/"), 404),
        (get("/api/v1/system"), 404),
        (get("/../ca/crl"), 404),
        (get("/ca/crl/x"), 404),
        (get("/nobody/crl"), 404),
        (get("/nobody/ocsp/AAAA"), 404),
        (get("/ca/ocsp"), 405),
        (get("/ca/ocsp/AA%"), 400),
        (get("/ca/crl", "POST"), 405),
        (get("/ca/crl", "DELETE"), 405),
        (b"POST /ca/ocsp HTTP/1.1\r\n\r\n", 400),
        (b"POST /ca/ocsp HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"POST /ca/ocsp HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /ca/crl SMTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01" + b"\xff" * 20_000, 0),
        (b"GET /" + b"a" * 9000, 0),
    ],
)
async def test_nothing_else_is(open_door: Publishing, octets: bytes, status: int) -> None:
    assert (await said(open_door, octets))[0] == status


async def test_an_answer_to_nonsense_is_that_it_makes_no_sense(open_door: Publishing) -> None:
    status, body = await said(open_door, b"POST /ca/ocsp HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert status == 200
    assert ocsp.load_der_ocsp_response(body).response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_who_asks_too_often_or_too_slowly_is_sent_away(
    open_door: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(await said(open_door, get("/")))[0] for _ in range(50)]
    assert (found[:40], found[-1]) == ([404] * 40, 429)
    monkeypatch.setattr(publishing, "DEADLINE", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", open_door.port)
    writer.write(b"GET /ca/crl HTTP/1.1\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_what_is_not_read_is_not_kept(
    years: Years, open_door: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "DEADLINE", 0.3)
    years.config.revocation_list("ca")
    own = years.config._lists._own
    own["ca"] = replace(own["ca"], octets=bytes(16 * 1024 * 1024))
    reader, writer = await asyncio.open_connection("127.0.0.1", open_door.port, limit=1024)
    writer.write(get("/ca/crl"))
    await asyncio.sleep(1)
    found = 0
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            found += len(part)
    assert found < 16 * 1024 * 1024
    writer.close()


async def test_one_source_does_not_take_all_connections(open_door: Publishing) -> None:
    waiting = [await asyncio.open_connection("127.0.0.1", open_door.port) for _ in range(publishing.MOST_OF_ONE)]
    await asyncio.sleep(0.1)
    assert await said(open_door, get("/ca/crl")) == (0, b"")
    for _, writer in waiting:
        writer.close()
    await asyncio.sleep(0.1)
    assert (await said(open_door, get("/ca/crl")))[0] == 200


async def test_a_port_that_is_taken_is_a_problem_in_words(years: Years, open_door: Publishing) -> None:
    second = Publishing(years.config, years.issuing)
    await second.open("127.0.0.1", open_door.port)
    assert "is not free" in second.problems[0]
    await second.close()


async def test_certificates_say_where(years: Years) -> None:
    settings = Settings(http_port=8080, public_name="vpn.example")
    issuing = Issuing(years.config, lambda: years.now, lambda authority: published_at(settings, authority))
    await issuing.create_authority(Order("ca", Wanted("Lab", life=3650 * DAY)), ME)
    await issuing.generate(Order("moon", Wanted("moon", ("moon.example",))), "ca", ME)
    one = x509.load_pem_x509_certificate(years.config.inventory.certificates["moon"].certificate.encode())
    assert distribution_points(one) == ["http://vpn.example:8080/ca/crl"]
    assert responders(one) == ["http://vpn.example:8080/ca/ocsp"]
    await years.config.patch("authorities", "ca", {"publish_uri": "http://ca.example/lab"}, ME)
    await issuing.generate(Order("sun", Wanted("sun", ("sun.example",))), "ca", ME)
    one = x509.load_pem_x509_certificate(years.config.inventory.certificates["sun"].certificate.encode())
    assert responders(one) == ["http://ca.example/lab/ocsp"]
    assert published_at(Settings(), "ca") == ""
    assert published_at(replace(settings, http_host="2001:db8::1"), "ca") == "http://[2001:db8::1]:8080/ca"


# --- what we show of our own certificate (RFC 4806) ---


def state_of(years: Years, own: Credential) -> State:
    (root,) = authority_chain(years.config.inventory, "ca")
    leaf, issuer = Certificate.read(own.chain[0]), Certificate.read(der(root))
    return standing(leaf, issuer, (), [own.ocsp], at_time(years.now)).state


async def test_our_authority_answers_for_our_certificates(years: Years) -> None:
    await years.prepare()
    first = years.config.snapshot().credentials["moon"]
    assert state_of(years, first) is State.GOOD
    years.now += 1000
    await years.care.look()
    assert years.config.snapshot().credentials["moon"].ocsp == first.ocsp
    years.now += 1000
    await years.care.look()
    second = years.config.snapshot().credentials["moon"]
    assert second.ocsp != first.ocsp
    assert state_of(years, second) is State.GOOD
    await years.issuing.revoke("moon", "superseded", ME)
    assert state_of(years, years.config.snapshot().credentials["moon"]) is State.REVOKED


async def test_another_authority_s_word_about_our_certificate_is_fetched_ahead(
    years: Years, elsewhere: Elsewhere
) -> None:
    await trust(years, elsewhere)
    key = PrivateKey(ed25519.Ed25519PrivateKey.generate())
    leaf = ca.issue(elsewhere.issuer, key.public, Wanted("moon", ("moon.example",)), years.now, os.urandom)
    await years.config.put("certificates", "moon", {"certificate": pem(leaf), "private_key": key_pem(key)}, ME)
    revoked: list[Revoked] = []
    years.responder = lambda asked: answer_ocsp(elsewhere.issuer, asked, {leaf.serial_number}, revoked, years.now)
    await years.care.look()
    shown = years.config.snapshot().credentials["moon"].ocsp
    assert ocsp.load_der_ocsp_response(shown).certificate_status == ocsp.OCSPCertStatus.GOOD
    revoked.append(Revoked(leaf.serial_number, years.now))
    years.now += 3601
    await years.care.look()
    assert years.config.snapshot().credentials["moon"].ocsp == b""
