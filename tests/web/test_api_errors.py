"""What goes wrong is a problem document, and what every answer carries."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.storage.rules import SettingsObject
from tests.web.api_lab import HOST, SUN, Api, problem
from web.security import CONTENT_SECURITY_POLICY

V1 = "/api/v1"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/peers/sun", "DELETE, GET, PATCH, PUT"),
        ("DELETE", "/peers", "GET"),
        ("GET", "/config", "PUT"),
        ("GET", "/peers/sun/actions/connect", "POST"),
        ("PUT", "/tokens", "GET, POST"),
        ("PATCH", "/auth/session", "DELETE, GET, POST"),
        ("BREW", "/status", "GET"),
        ("POST", "/shunts/lan", "DELETE, GET, PATCH, PUT"),
        ("POST", "/blocks/192.0.2.0/24", "DELETE, GET, PATCH, PUT"),
        ("DELETE", "/settings", "GET, PATCH, PUT"),
    ],
)
async def test_another_method_is_told_all_that_are_there(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, V1 + path)
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v2/peers", "/api/v1/peers/", "/docs", "/redoc", "/openapi.json"]
)
async def test_what_is_not_there(client: httpx2.AsyncClient, path: str) -> None:
    problem(await client.get(path), 404, "not-found")


@pytest.mark.parametrize("content", ["{", "", "nonsense", '{"a": 1,}', "[" * 50_000])
async def test_what_is_no_json(client: httpx2.AsyncClient, content: str) -> None:
    answer = await client.put(f"{V1}/peers/sun", content=content, headers={"content-type": "application/json"})
    if content:
        problem(answer, 400, "bad-request")
    else:
        problem(answer, 422, "invalid")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_json_must_say_that_it_is(client: httpx2.AsyncClient, media_type: str) -> None:
    """A form of another site can send these without asking; JSON it cannot."""
    answer = await client.put(f"{V1}/peers/sun", content=b'{"remote_id": "x"}', headers={"content-type": media_type})
    told = problem(answer, 415, "media-type")["detail"]
    assert "must be application/json" in told  # curl -d says that it sends a form
    assert f"it says {media_type or 'nothing'}." in told
    problem(await client.get(f"{V1}/peers/sun"), 404, "not-found")


async def test_a_body_has_a_limit(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"{V1}/peers/sun", json={"description": "x" * 1024 * 1024})
    assert "1048576 octets" in problem(answer, 413, "too-large")["detail"]

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"description": "'
        for _ in range(10_000):
            yield b"x" * 1024
            sent.append(1024)

    sent: list[int] = []
    answer = await client.put(f"{V1}/peers/sun", content=endless(), headers={"content-type": "application/json"})
    problem(answer, 413, "too-large")
    assert sum(sent) < 2 * 1024 * 1024


async def test_every_answer_carries_the_security_headers(
    client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    answers = [
        await client.get(f"{V1}/peers"),
        await client.get(f"{V1}/nothing"),
        await nobody.get(f"{V1}/peers"),
        await nobody.get("/healthz"),
        await nobody.put(f"{V1}/peers/sun", json={}, headers={"sec-fetch-site": "cross-site"}),
        await client.put(f"{V1}/peers/sun", json={"description": "x" * 1024 * 1024}),
    ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


async def test_a_request_keeps_its_id_if_it_is_a_plain_word(nobody: httpx2.AsyncClient) -> None:
    given_id = await nobody.get("/healthz", headers={"x-request-id": "trace-1.2_3"})
    assert given_id.headers["x-request-id"] == "trace-1.2_3"
    for odd in ("a b", "<script>", "x" * 65, "ü".encode()):
        made: Any = await nobody.get("/healthz", headers={"x-request-id": odd})
        assert made.headers["x-request-id"].isalnum()
        assert len(made.headers["x-request-id"]) == 16


async def test_what_nobody_foresaw_is_told_without_its_cause(
    api: Api, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine's door is the one place here that can fail in ways the API knows nothing of."""

    def broken(_: object) -> None:
        raise RuntimeError("the cellar is flooded")

    api.gateway.config._push = broken  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR):
        answer = await client.put(f"{V1}/peers/sun", json=SUN)
    document = problem(answer, 500, "internal")
    assert "cellar" not in answer.text
    assert document["request_id"] in caplog.text
    assert "the cellar is flooded" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_database_that_cannot_be_written_is_told(api: Api, client: httpx2.AsyncClient) -> None:
    holder = sqlite3.connect(api.data / "config.db", isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        answer = await client.put(f"{V1}/peers/sun", json=SUN)
        assert "Nothing was changed" in problem(answer, 503, "storage")["detail"]
        assert answer.headers["retry-after"]
        problem(await client.get(f"{V1}/peers/sun"), 404, "not-found")
    finally:
        holder.close()
    assert (await client.put(f"{V1}/peers/sun", json=SUN)).status_code == 201


@pytest.mark.parametrize(
    "path",
    ["revisions/{}", "revisions/{}/diff", "revisions?before={}", "attempts/{}", "attempts?before={}", "ike-sas/{}"],
)
@pytest.mark.parametrize("number", [-1, 2**53 + 1, 2**64, 10**30])
async def test_numbers_beyond_all_measure(client: httpx2.AsyncClient, path: str, number: int) -> None:
    problem(await client.get(f"{V1}/{path.format(number)}"), 422, "invalid")


async def test_a_problem_explains_itself(nobody: httpx2.AsyncClient) -> None:
    found = await nobody.get((await nobody.get("/nothing")).json()["type"])
    assert (found.status_code, found.text) == (200, "There is no such object or path.\n")
    assert found.headers["content-type"].startswith("text/plain")
    problem(await nobody.get("/problems/none"), 404, "not-found")


async def test_text_that_is_no_unicode(client: httpx2.AsyncClient) -> None:
    answer = await client.put(
        f"{V1}/peers/sun", content=b'{"description": "\\ud800"}', headers={"content-type": "application/json"}
    )
    problem(answer, 422, "invalid")


CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "nonsense"},
    {"sec-fetch-site": "cross-site", "origin": HOST},
    {"origin": "https://evil.example"},
    {"origin": "https://gw.example"},
    {"origin": "http://gw.example:8443"},
    {"origin": "https://gw.example:8443.evil.example"},
    {"origin": "null"},
    {},
]
OURS = [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": HOST}, {"origin": HOST.upper()}]
PASSWORD = "a long walk on the beach"


async def _set_up(api: Api, browser: httpx2.AsyncClient) -> None:
    link = api.gateway.config.access.setup_link("gw.example:8443") or ""
    body = {"token": link.partition("=")[2], "name": "root", "password": PASSWORD}
    assert (await browser.post(f"{V1}/setup", json=body)).status_code == 201


async def test_another_site_cannot_make_a_browser_change_anything(api: Api) -> None:
    async with api.client() as browser:
        await _set_up(api, browser)
        for headers in CROSS:
            for method in ("PUT", "POST", "PATCH", "DELETE", "BREW"):
                answer = await browser.request(method, f"{V1}/peers/sun", json=SUN, headers=headers)
                told = problem(answer, 403, "cross-site")["detail"]
                # curl with the cookie is no browser, and needs to know what to do.
                assert ("Bearer" in told, "browser says" in told) == (not headers, bool(headers))
        assert api.gateway.config.peers() == []
        for number, headers in enumerate(OURS):
            answer = await browser.put(f"{V1}/peers/p{number}", json=SUN, headers=headers)
            assert answer.status_code == 201, headers
        assert (await browser.get(f"{V1}/peers", headers=CROSS[0])).status_code == 200


async def test_a_token_is_not_a_matter_of_sites(client: httpx2.AsyncClient) -> None:
    for number, headers in enumerate(CROSS):
        answer = await client.put(f"{V1}/peers/p{number}", json=SUN, headers=headers)
        assert answer.status_code == 201


async def test_a_wrong_token_does_not_fall_back_to_the_cookie(api: Api) -> None:
    """Otherwise any Authorization header would be a way around the cross-site check."""
    async with api.client() as browser:
        await _set_up(api, browser)
        for value in ("Bearer nonsense", "Bearer ", "Basic cm9vdDp4", "bearer x"):
            headers = {"authorization": value, "sec-fetch-site": "cross-site"}
            answer = await browser.put(f"{V1}/peers/sun", json=SUN, headers=headers)
            assert answer.status_code in (401, 403), value
        assert api.gateway.config.peers() == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
peer_like = st.dictionaries(
    st.sampled_from(
        [
            "description",
            "remote_id",
            "local_id",
            "remote_addresses",
            "children",
            "retransmit",
            "dpd_delay",
            "name",
            "unique",
            "reauth_time",
            "fragment_octets",
            "dscp",
            "mobike",
        ]
    ),
    json_values,
)


rule_like = st.dictionaries(
    st.sampled_from(["action", "local_selectors", "remote_selectors", "priority", "reason", "expires_at", "network"]),
    json_values,
)
settings_like = st.dictionaries(st.sampled_from([*SettingsObject.model_fields]), json_values)


@pytest.mark.parametrize(
    ("path", "likely"),
    [
        ("peers/sun", peer_like),
        ("shunts/lan", rule_like),
        ("blocks/198.51.100.0/24", rule_like),
        ("settings", settings_like),
    ],
)
async def test_no_document_breaks_the_configuration(
    client: httpx2.AsyncClient, path: str, likely: st.SearchStrategy[Any]
) -> None:
    """Whatever the body, the answer is 2xx or a problem below 500, and what was taken can be exported and read back."""
    loop = asyncio.get_running_loop()

    @settings(max_examples=100)
    @given(body=json_values | likely)
    def put(body: Any) -> None:
        asyncio.run_coroutine_threadsafe(_put_anything(client, path, body), loop).result(30)

    await asyncio.to_thread(put)


async def _put_anything(client: httpx2.AsyncClient, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    answer = await client.put(f"{V1}/{path}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 201, 400, 422), answer.text
    if answer.is_success:
        export = await client.get(f"{V1}/config/export")
        back = await client.put(
            f"{V1}/config?prune=true", content=export.content, headers={"content-type": "application/yaml"}
        )
        assert not back.json()["changed"]
