"""The configuration as a whole: exported, applied, and gone back in."""

import httpx2
import pytest
import yaml

from tests.web.api_lab import KEY, SUN, Api, problem

V1 = "/api/v1"
DOCUMENT = {"apiVersion": "ikegate/v1", "psks": [{"name": "key", **KEY}], "peers": [{"name": "sun", **SUN}]}
YAML = {"content-type": "application/yaml"}


async def test_an_export_is_applied_back_without_a_change(api: Api, client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/config", json=DOCUMENT)
    text = await client.get(f"{V1}/config/export")
    assert text.headers["content-type"] == "application/yaml"
    as_json = await client.get(f"{V1}/config/export?format=json")
    assert yaml.safe_load(text.text) == as_json.json() == api.gateway.config.export()
    assert text.headers["etag"] == as_json.headers["etag"] == '"2"'
    back = await client.put(f"{V1}/config?prune=true", content=text.text, headers=YAML)
    assert (back.status_code, back.json()["changed"], back.headers["etag"]) == (200, False, '"2"')
    assert api.gateway.config.snapshot().psks[0].secret == KEY["secret"].encode()


async def test_a_document_is_one_revision_with_its_reason(client: httpx2.AsyncClient) -> None:
    written = await client.put(f"{V1}/config?comment=moving+in", json=DOCUMENT)
    assert written.status_code == 200
    assert written.json()["object"] is None
    assert written.json()["impact"]["text"] == "Begins sun."
    latest = (await client.get(f"{V1}/revisions?limit=1")).json()
    assert latest["next_cursor"] == "2"
    assert latest["items"][0] | {"at": 0} == {
        "number": 2,
        "at": 0,
        "author": "token tests",
        "comment": "moving in",
        "summary": "Added key key; Added peer sun",
    }


async def test_a_document_can_ask_for_the_version_it_was_made_from(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/config", json=DOCUMENT)
    stale = await client.put(f"{V1}/config", json={**DOCUMENT, "peers": []}, headers={"if-match": '"1"'})
    assert problem(stale, 412, "changed-since")["etag"] == '"2"'


@pytest.mark.parametrize(
    ("content", "media_type", "status", "slug"),
    [
        ("{", "application/json", 400, "bad-request"),
        ("[1]", "application/json", 422, "invalid"),
        ("[" * 100_000, "application/json", 400, "bad-request"),
        ("a: [", "application/yaml", 422, "invalid"),
        ("a: &a [*a]", "text/yaml", 422, "invalid"),
        ("{}", "text/plain", 415, "media-type"),
        ("apiVersion=ikegate/v1", "application/x-www-form-urlencoded", 415, "media-type"),
        ("peers: []", "application/yaml", 422, "invalid"),
    ],
)
async def test_what_is_no_document(
    client: httpx2.AsyncClient, content: str, media_type: str, status: int, slug: str
) -> None:
    answer = await client.put(f"{V1}/config", content=content, headers={"content-type": media_type})
    problem(answer, status, slug)


async def test_octets_that_are_no_text(client: httpx2.AsyncClient) -> None:
    for media_type in ("application/json", "application/yaml"):
        answer = await client.put(f"{V1}/config", content=b"\xff\xfe", headers={"content-type": media_type})
        problem(answer, 400, "bad-request")


async def test_revisions_are_read_compared_and_restored(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/config", json=DOCUMENT)
    await client.patch(f"{V1}/peers/sun", json={"remote_id": "star.example"})
    await client.delete(f"{V1}/peers/sun")
    third = (await client.get(f"{V1}/revisions/3")).json()
    assert third["document"]["peers"][0]["remote_id"] == "star.example"
    assert third["document"]["psks"] == [
        {"name": "key", "description": "", "local_ids": [], "remote_ids": ["sun.example"]}
    ]
    changed = (await client.get(f"{V1}/revisions/3/diff")).json()
    assert changed["differences"][0]["fields"] == [
        {"pointer": "/remote_id", "old": "sun.example", "new": "star.example"}
    ]
    back = (await client.get(f"{V1}/revisions/4/diff?against=2")).json()
    assert [(one["action"], one["name"]) for one in back["differences"]] == [("remove", "sun")]
    dry = await client.post(f"{V1}/revisions/2/actions/restore?dry_run=true")
    assert (dry.json()["impact"]["added"], dry.json()["revision"]) == (["sun"], 4)
    restored = await client.post(f"{V1}/revisions/2/actions/restore")
    assert restored.json()["revision"] == 5
    assert (await client.get(f"{V1}/peers/sun")).json()["remote_id"] == "sun.example"
    pages = (await client.get(f"{V1}/revisions?limit=3")).json()
    rest = (await client.get(f"{V1}/revisions?before={pages['next_cursor']}")).json()
    assert [one["number"] for one in pages["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    for path in ("revisions/99", "revisions/99/diff", "revisions/2/diff?against=99"):
        problem(await client.get(f"{V1}/{path}"), 404, "not-found")
    problem(await client.post(f"{V1}/revisions/99/actions/restore"), 404, "not-found")


async def test_a_document_may_be_larger_than_other_bodies(client: httpx2.AsyncClient) -> None:
    peers = [{"name": f"p{number}", "description": "x" * 1000} for number in range(1200)]
    answer = await client.put(f"{V1}/config", json={"apiVersion": "ikegate/v1", "peers": peers}, timeout=60)
    assert len(answer.json()["impact"]["added"]) == 1200
    assert answer.json()["impact"]["text"] == "Begins 1200 tunnels."
