"""Access profiles through the API."""

from typing import Any

import httpx2
import pytest

from tests.web.api_lab import Api, problem
from tests.web.test_api_people import POOL, WARRIORS

V1 = "/api/v1"
PROFILE: dict[str, Any] = {"networks": ["10.1.0.0/24", "10.2.0.80[tcp/443]"], "groups": ["staff"]}


async def test_a_profile_and_who_has_it(client: httpx2.AsyncClient, api: Api) -> None:
    made = await client.put(f"{V1}/access-profiles/web", json=PROFILE)
    assert made.status_code == 201
    assert made.json()["impact"]["access_profiles"] == ["web"]
    assert made.json()["object"]["tunnel"] == "split"
    assert (await client.put(f"{V1}/users/anna", json={"access_profile": "web"})).status_code == 201
    snapshot = api.gateway.config.snapshot()
    access = snapshot.access_of(snapshot.users["anna"])
    assert access and access.profile.needs_rules
    assert problem(await client.delete(f"{V1}/access-profiles/web"), 409, "in-use")["used_by"] == ["users/anna"]
    assert (await client.get(f"{V1}/access-profiles?q=staff")).json()["items"][0]["name"] == "web"
    assert "access_profiles:\n- name: web\n" in (await client.get(f"{V1}/config/export")).text
    await client.put(f"{V1}/users/anna", json={})
    assert (await client.delete(f"{V1}/access-profiles/web")).status_code == 200


async def test_a_pool_and_proposals_of_a_profile_stay(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    await client.put(f"{V1}/proposals/strong", json={"protocol": "esp", "suites": ["aes256gcm16"]})
    body = {**PROFILE, "pools": ["office"], "esp_proposals": ["strong"]}
    assert (await client.put(f"{V1}/access-profiles/web", json=body)).status_code == 201
    for path in ("pools/office", "proposals/strong"):
        assert problem(await client.delete(f"{V1}/{path}"), 409, "in-use")["used_by"] == ["access-profiles/web"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"networks": ["10.1.0.1/24"]}, "/networks/0", "invalid-network"),
        ({"networks": ["10.1.0.0/24[tcp/opaque]"]}, "/networks/0", "invalid-network"),
        ({"networks": []}, "/networks", "no-networks"),
        ({"pools": ["office"]}, "/pools/0", "unknown-reference"),
        ({"domains": ["corp.example"]}, "/domains", "no-dns"),
        ({"ike_proposals": ["modern-esp"]}, "/ike_proposals/0", "wrong-protocol"),
        ({"esp_proposals": ["no"]}, "/esp_proposals/0", "unknown-reference"),
    ],
)
async def test_a_profile_that_makes_no_sense(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    answer = problem(await client.put(f"{V1}/access-profiles/web", json=PROFILE | change), 422, "invalid")
    assert (answer["errors"][0]["pointer"], answer["errors"][0]["code"]) == (pointer, code)


async def test_a_group_has_one_profile_and_a_user_one_that_exists(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/access-profiles/web", json=PROFILE)
    answer = problem(await client.put(f"{V1}/access-profiles/zoo", json=PROFILE), 422, "invalid")
    assert (answer["errors"][0]["pointer"], answer["errors"][0]["code"]) == ("/groups/0", "duplicate")
    answer = problem(await client.put(f"{V1}/users/anna", json={"access_profile": "no"}), 422, "invalid")
    assert answer["errors"][0]["pointer"] == "/access_profile"


LAID_BARE = ("anna@example.com has no access profile any more (web until now), and reaches 10.1.0.0/16 by people/net.",)


async def test_what_an_edit_opens_is_said_by_the_trial_by_the_write_and_by_the_journal(
    client: httpx2.AsyncClient, api: Api
) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    await client.put(f"{V1}/psks/people", json={"secret": "words that nobody knows but these"})
    made = await client.put(f"{V1}/peers/people", json=WARRIORS)
    assert (made.status_code, made.json()["warnings"]) == (201, [])
    await client.put(f"{V1}/access-profiles/web", json=PROFILE | {"networks": ["10.1.0.0/28"]})
    anna = {"login": "anna@example.com", "access_profile": "web"}
    assert (await client.put(f"{V1}/users/anna", json=anna)).json()["warnings"] == []
    bare = anna | {"access_profile": ""}
    tried = await client.put(f"{V1}/users/anna?dry_run=true", json=bare)
    assert tried.json()["warnings"] == [*LAID_BARE]
    assert not [one for one in api.gateway.journal.since(0) if one.kind == "access.wider"]
    assert (await client.put(f"{V1}/users/anna", json=bare)).json()["warnings"] == [*LAID_BARE]
    (kept,) = [one for one in api.gateway.journal.since(0) if one.kind == "access.wider"]
    assert kept.text == LAID_BARE[0]
    await client.put(f"{V1}/users/anna", json=anna)
    gone = (await client.delete(f"{V1}/users/anna")).json()["warnings"]
    still_in = "by a pre-shared key whoever proves to be that still comes in, and reaches 10.1.0.0/16 by people/net"
    assert gone == [f"anna@example.com is no user any more, but {still_in}."]


async def test_a_document_that_lacks_a_profile_says_what_it_opens(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    await client.put(f"{V1}/psks/people", json={"secret": "words that nobody knows but these"})
    await client.put(f"{V1}/peers/people", json=WARRIORS)
    await client.put(f"{V1}/access-profiles/web", json=PROFILE | {"networks": ["10.1.0.0/28"]})
    await client.put(f"{V1}/users/anna", json={"login": "anna@example.com", "groups": ["staff"]})
    document = (await client.get(f"{V1}/config/export?format=json")).json()
    del document["access_profiles"]
    for trial in ("true", "false"):
        answer = await client.put(f"{V1}/config?prune=true&dry_run={trial}", json=document)
        assert answer.json()["warnings"] == [*LAID_BARE]
