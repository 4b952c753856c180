"""Who may call what: setup, sessions, tokens, and the scope of every route."""

from typing import Any

import httpx2
import pytest

from gateway.service.access import IDLE, Scope
from tests.web.api_lab import HOST, SUN, Api, problem

V1 = "/api/v1"
PASSWORD = "a long walk on the beach"
OURS = {"origin": HOST}
PUBLIC = {
    ("GET", "/api/v1/setup"),
    ("POST", "/api/v1/setup"),
    ("POST", "/api/v1/auth/session"),
    ("DELETE", "/api/v1/auth/session"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/v1/authorities/{name}/crl"),
    ("GET", "/api/v1/authorities/{name}/ocsp/{asked}"),
    ("POST", "/api/v1/authorities/{name}/ocsp"),
}
ANY_CALLER = {("GET", "/api/v1/auth/session"), ("POST", "/api/v1/auth/password")}
PARAMETERS = {
    "name": "sun",
    "child": "net",
    "number": "1",
    "id": "aaaaaaaa",
    "verb": "rekey",
    "network": "192.0.2.0/24",
    "asked": "MAA=",
    "device": "phone",
    "platform": "android",
    "pool": "office",
    "address": "10.9.0.1",
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/v1/auth/password"): {"password": "x", "new_password": "y"},
    ("POST", "/api/v1/tokens"): {"name": "t", "scopes": ["admin"]},
    ("PUT", "/api/v1/proposals/{name}"): {"protocol": "ike", "suites": ["aes256gcm16-prfsha256-x25519"]},
    ("PUT", "/api/v1/shunts/{name}"): {
        "action": "drop",
        "local_selectors": ["10.1.0.0/24"],
        "remote_selectors": ["10.9.0.0/24"],
    },
    ("PUT", "/api/v1/peers/{name}/children/{child}"): {
        "local_selectors": ["10.1.0.0/24"],
        "remote_selectors": ["10.2.0.0/24"],
    },
}


def _operations(api: Api) -> dict[tuple[str, str], dict[str, Any]]:
    paths = api.app.openapi()["paths"]
    return {
        (method.upper(), path): operation for path, methods in paths.items() for method, operation in methods.items()
    }


def _scopes(operation: dict[str, Any]) -> set[str] | None:
    """What the description says that the route needs; None: nothing, not even a caller."""
    security = operation.get("security")
    return None if security is None else {scope for way in security for scopes in way.values() for scope in scopes}


async def _call(client: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
    body = BODIES.get((method, path), {} if method in ("PUT", "PATCH", "POST") else None)
    if path.endswith("/events"):
        async with client.stream(method, path) as answer:
            return answer
    return await client.request(method, path.format(**PARAMETERS), json=body)


def test_every_route_names_the_scope_it_needs(api: Api) -> None:
    operations = _operations(api)
    assert len(operations) >= 45
    for key, operation in operations.items():
        scopes = _scopes(operation)
        if key in PUBLIC:
            assert scopes is None, key
        elif key in ANY_CALLER:
            assert scopes == set(), key
        else:
            assert scopes is not None, key
            assert len(scopes) == 1, key
            if scopes & {Scope.CONFIG_READ, Scope.STATE_READ}:
                assert key[0] == "GET", key
            if key[0] != "GET":
                assert scopes & {Scope.CONFIG_WRITE, Scope.ACTIONS, Scope.ADMIN}, key


async def test_nobody_gets_in_anywhere(api: Api, nobody: httpx2.AsyncClient) -> None:
    await api.gateway.config.access.add_admin("root", PASSWORD)
    for method, path in _operations(api).keys() - PUBLIC:
        answer = await _call(nobody, method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_opens_the_routes_of_its_scope_alone(api: Api, scope: Scope) -> None:
    async with api.client(await api.token([scope])) as client:
        for (method, path), operation in _operations(api).items():
            needed = _scopes(operation)
            if needed is None or path.endswith("/events"):
                continue
            answer = await _call(client, method, path)
            if needed <= {scope} and (method, path) != ("POST", "/api/v1/auth/password"):
                assert answer.status_code not in (401, 403), (method, path, answer.text)
            else:
                problem(answer, 403, "missing-scope")


async def test_setup_makes_the_first_administrator_once(api: Api, nobody: httpx2.AsyncClient) -> None:
    assert (await nobody.get(f"{V1}/setup")).json() == {"needed": True}
    problem(await nobody.get(f"{V1}/peers"), 401, "setup-needed")
    link = api.gateway.config.access.setup_link("gw.example:8443") or ""
    body = {"token": link.partition("=")[2], "name": "root", "password": PASSWORD}
    problem(await nobody.post(f"{V1}/setup", json={**body, "token": "wrong"}), 403, "setup-refused")
    weak = problem(await nobody.post(f"{V1}/setup", json={**body, "password": "short"}), 422, "invalid")
    assert [error["pointer"] for error in weak["errors"]] == ["/password"]
    made = await nobody.post(f"{V1}/setup", json=body)
    assert (made.status_code, made.json()["admin"]) == (201, "root")
    assert (await nobody.get(f"{V1}/peers")).status_code == 200
    problem(await nobody.post(f"{V1}/setup", json=body, headers=OURS), 403, "setup-refused")
    assert (await nobody.get(f"{V1}/setup")).json() == {"needed": False}


async def test_the_session_cookie_is_one_that_stays_here(api: Api, nobody: httpx2.AsyncClient) -> None:
    await api.gateway.config.access.add_admin("root", PASSWORD)
    signed = await nobody.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD})
    assert signed.status_code == 201
    name, _, rest = signed.headers["set-cookie"].partition("=")
    assert name == "__Host-ikegate"
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert attributes == {"secure", "httponly", "samesite=lax", "path=/"}
    who = (await nobody.get(f"{V1}/auth/session")).json()
    assert (who["name"], sorted(who["scopes"])) == ("root", sorted(Scope))
    assert who["session"]["expires_at"] - who["session"]["created_at"] == IDLE
    assert (await nobody.put(f"{V1}/peers/sun", json=SUN, headers=OURS)).status_code == 201
    assert api.gateway.config.revisions(limit=1)[0].author == "root"


async def test_signing_in_again_or_out_ends_the_session(api: Api) -> None:
    await api.gateway.config.access.add_admin("root", PASSWORD)
    credentials = {"name": "root", "password": PASSWORD}
    async with api.client() as browser:
        await browser.post(f"{V1}/auth/session", json=credentials)
        first = browser.cookies["__Host-ikegate"]
        await browser.post(f"{V1}/auth/session", json=credentials, headers=OURS)
        second = browser.cookies["__Host-ikegate"]
        assert first != second
        access = api.gateway.config.access
        assert (access.session(first), access.session(second) is not None) == (None, True)
        out = await browser.delete(f"{V1}/auth/session", headers=OURS)
        assert out.status_code == 204
        assert "__Host-ikegate" not in browser.cookies
        assert access.session(second) is None
        problem(await browser.get(f"{V1}/peers"), 401, "not-signed-in")
        assert (await browser.delete(f"{V1}/auth/session")).status_code == 204


async def test_a_wrong_password_is_refused_and_then_slowed(api: Api, nobody: httpx2.AsyncClient) -> None:
    await api.gateway.config.access.add_admin("root", PASSWORD)
    tries = 0
    while (
        wrong := await nobody.post(f"{V1}/auth/session", json={"name": "root", "password": "no"})
    ).status_code == 401:
        assert "set-cookie" not in wrong.headers
        problem(wrong, 401, "sign-in-refused")
        tries += 1
        assert tries < 40, "a slow machine is given back one try in six seconds, not this many"
    assert tries >= 10
    slowed = await nobody.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD})
    problem(slowed, 429, "too-many-attempts")
    assert 1 <= int(slowed.headers["retry-after"]) <= 10


async def test_a_password_is_changed_by_its_owner(api: Api) -> None:
    await api.gateway.config.access.add_admin("root", PASSWORD)
    async with api.client() as browser, api.client(await api.token()) as token:
        await browser.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD})
        body = {"password": PASSWORD, "new_password": "two short walks, no beach"}
        problem(await token.post(f"{V1}/auth/password", json=body), 403, "missing-scope")
        short = await browser.post(f"{V1}/auth/password", json={**body, "new_password": "short"}, headers=OURS)
        assert problem(short, 422, "invalid")["errors"][0]["pointer"] == "/new_password"
        assert (await browser.post(f"{V1}/auth/password", json=body, headers=OURS)).status_code == 204
        problem(await browser.get(f"{V1}/peers"), 401, "not-signed-in")


async def test_tokens_are_made_shown_once_and_deleted(api: Api, client: httpx2.AsyncClient) -> None:
    made = await client.post(f"{V1}/tokens", json={"name": "ansible", "scopes": ["config:read"], "days": 7})
    assert made.status_code == 201
    text = made.json()["token"]
    assert made.json()["expires_at"] - made.json()["created_at"] == 7 * 86_400
    async with api.client(text) as ansible:
        assert (await ansible.get(f"{V1}/peers")).status_code == 200
        problem(await ansible.put(f"{V1}/peers/sun", json=SUN), 403, "missing-scope")
        listed = await client.get(f"{V1}/tokens")
        assert text not in listed.text
        assert text.split("_", 2)[2] not in listed.text
        (row,) = [token for token in listed.json()["items"] if token["name"] == "ansible"]
        assert row["used_from"] == "127.0.0.1"
        assert (await client.delete(f"{V1}/tokens/{row['id']}")).status_code == 204
        problem(await ansible.get(f"{V1}/peers"), 401, "setup-needed")
    problem(await client.delete(f"{V1}/tokens/{row['id']}"), 404, "not-found")
    twice = await client.post(f"{V1}/tokens", json={"name": "tests", "scopes": ["config:read"]})
    assert problem(twice, 422, "invalid")["errors"][0]["pointer"] == "/name"


async def test_a_token_cannot_make_one_that_may_do_more(api: Api) -> None:
    async with api.client(await api.token([Scope.ADMIN])) as admin:
        beyond = await admin.post(f"{V1}/tokens", json={"name": "more", "scopes": ["admin", "config:write"]})
        assert "config:write" in problem(beyond, 403, "missing-scope")["detail"]
        assert (await admin.post(f"{V1}/tokens", json={"name": "same", "scopes": ["admin"]})).status_code == 201


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["all"]}, "/scopes/0"),
        ({"days": 0}, "/days"),
        ({"days": 367}, "/days"),
        ({"days": 1.5}, "/days"),
        ({"name": "A B"}, "/name"),
        ({"admin": True}, "/admin"),
    ],
)
async def test_tokens_that_are_not_made(client: httpx2.AsyncClient, change: dict[str, Any], pointer: str) -> None:
    wrong = await client.post(f"{V1}/tokens", json={"name": "t", "scopes": ["config:read"], **change})
    assert [error["pointer"] for error in problem(wrong, 422, "invalid")["errors"]] == [pointer]
