"""Peers, children, proposals and keys by name: made, changed, compared, listed and taken away."""

from typing import Any

import httpx2
import pytest

from tests.web.api_lab import KEY, NET, SUN, Api, problem

V1 = "/api/v1"


async def test_a_peer_is_made_read_changed_and_deleted(client: httpx2.AsyncClient) -> None:
    made = await client.put(f"{V1}/peers/sun", json=SUN)
    assert made.status_code == 201
    body = made.json()
    assert (body["created"], body["changed"], body["dry_run"], body["revision"]) == (True, True, False, 2)
    assert body["impact"]["added"] == ["sun"]
    read = await client.get(f"{V1}/peers/sun")
    assert read.json() == body["object"]
    assert read.headers["etag"] == made.headers["etag"] == '"2"'
    assert next(iter(read.json())) == "name"
    assert (read.json()["dpd_delay"], read.json()["ike_proposals"]) == (30.0, ["modern-pq-ike"])

    again = await client.put(f"{V1}/peers/sun", json=read.json())
    assert (again.status_code, again.json()["changed"], again.json()["revision"]) == (200, False, 2)

    patched = await client.patch(f"{V1}/peers/sun", json={"dpd_delay": 10, "local_id": None})
    assert patched.status_code == 200
    assert patched.json()["object"] == {**read.json(), "dpd_delay": 10.0, "local_id": None}
    assert [field["pointer"] for field in patched.json()["differences"][0]["fields"]] == ["/local_id", "/dpd_delay"]

    gone = await client.delete(f"{V1}/peers/sun")
    assert (gone.status_code, gone.json()["object"], gone.json()["impact"]["removed"]) == (200, None, ["sun"])
    for method in ("GET", "PATCH", "DELETE"):
        missing = await client.request(method, f"{V1}/peers/sun", json={} if method == "PATCH" else None)
        assert problem(missing, 404, "not-found")["detail"] == "There is no peer 'sun'."


async def test_versions_and_conditions(client: httpx2.AsyncClient) -> None:
    only_new = {"if-none-match": "*"}
    first = await client.put(f"{V1}/peers/sun", json=SUN, headers=only_new)
    refused = problem(await client.put(f"{V1}/peers/sun", json=SUN, headers=only_new), 412, "changed-since")
    assert refused["etag"] == first.headers["etag"]
    await client.patch(f"{V1}/peers/sun", json={"description": "x"}, headers={"if-match": first.headers["etag"]})
    late = await client.delete(f"{V1}/peers/sun", headers={"if-match": first.headers["etag"]})
    assert problem(late, 412, "changed-since")["etag"] == late.headers["etag"] == '"3"'
    assert (await client.get(f"{V1}/peers/sun")).json()["description"] == "x"


async def test_a_dry_run_stores_nothing(api: Api, client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json=SUN)
    before = api.gateway.config.inventory
    for call in (
        client.put(f"{V1}/peers/new?dry_run=true", json=SUN),
        client.patch(f"{V1}/peers/sun?dry_run=true", json={"remote_id": "star.example"}),
        client.delete(f"{V1}/peers/sun?dry_run=true"),
        client.put(f"{V1}/peers/sun/children/two?dry_run=true", json={**NET, "name": "two"}),
        client.put(f"{V1}/config?dry_run=true&prune=true", json={"apiVersion": "ikegate/v1"}),
    ):
        answer = await call
        assert answer.status_code == 200
        assert (answer.json()["dry_run"], answer.json()["changed"], answer.json()["revision"]) == (True, True, 2)
        assert answer.json()["differences"]
    assert api.gateway.config.inventory is before


async def test_children_are_objects_of_their_own(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json={"remote_id": "sun.example"})
    at = f"{V1}/peers/sun/children/net"
    made = await client.put(at, json={key: value for key, value in NET.items() if key != "name"})
    assert made.status_code == 201
    read = await client.get(at)
    assert read.json() == made.json()["object"] == (await client.get(f"{V1}/peers/sun/children")).json()["items"][0]
    assert read.json()["start"] == "always"
    patched = await client.patch(at, json={"start": "on-demand"}, headers={"if-match": read.headers["etag"]})
    assert patched.json()["impact"]["children"] == {"sun": ["net"]}
    assert (await client.get(f"{V1}/peers/sun")).json()["children"][0]["start"] == "on-demand"
    wrong = problem(await client.patch(at, json={"remote_selectors": ["10.2.0.1/24"]}), 422, "invalid")
    assert [error["pointer"] for error in wrong["errors"]] == ["/remote_selectors/0"]
    assert "did you mean 10.2.0.0/24?" in wrong["errors"][0]["detail"]
    assert (await client.delete(at)).status_code == 200
    problem(await client.get(at), 404, "not-found")
    problem(await client.get(f"{V1}/peers/moon/children"), 404, "not-found")


async def test_a_proposal_says_what_it_is_worth_and_who_uses_it(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json=SUN)
    read = (await client.get(f"{V1}/proposals/modern-esp")).json()
    assert read["used_by"] == ["peers/sun/children/net"]
    assert [suite["weak"] for suite in read["assessment"]] == [[]] * len(read["suites"])
    suites = ["aes256-sha1-modp2048", "aes256gcm16-prfsha384-ecp384"]
    made = await client.put(f"{V1}/proposals/mine", json={"protocol": "ike", "suites": suites})
    weak, strong = made.json()["object"]["assessment"]
    assert weak["weak"] == ["sha1", "prfsha1"]
    assert (weak["strength"], strong["strength"]) == (96, 192)
    assert strong["algorithms"][0] == {
        "keyword": "aes256gcm16",
        "label": "AES-256-GCM",
        "kind": "encryption",
        "strength": 256,
        "status": "SHOULD",
        "weak": False,
    }
    sent_back = await client.put(f"{V1}/proposals/mine", json=made.json()["object"])
    assert (sent_back.status_code, sent_back.json()["changed"]) == (200, False)
    conflict = problem(await client.delete(f"{V1}/proposals/modern-esp"), 409, "in-use")
    assert conflict["used_by"] == ["peers/sun/children/net"]


async def test_a_key_never_shows_its_secret(client: httpx2.AsyncClient) -> None:
    made = await client.put(f"{V1}/psks/key", json=KEY)
    shown = {"name": "key", "description": "", "local_ids": [], "remote_ids": ["sun.example"], "secret_set": True}
    assert made.json()["object"] == shown
    assert (await client.get(f"{V1}/psks/key")).json() == shown
    assert (await client.get(f"{V1}/psks")).json()["items"] == [shown]
    sent_back = await client.put(f"{V1}/psks/key", json=shown)
    assert (sent_back.status_code, sent_back.json()["changed"]) == (200, False)
    changed = await client.patch(f"{V1}/psks/key", json={"secret": "0x0102"})
    assert changed.json()["differences"][0]["fields"] == [
        {"pointer": "/secret", "old": "(secret)", "new": "(another secret)"}
    ]
    missing = problem(await client.put(f"{V1}/psks/other", json={}), 422, "invalid")
    assert missing["errors"] == [{"pointer": "/secret", "code": "missing", "detail": "a new key needs its secret"}]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"surplus": 1}, ["/surplus"]),
        ({"remote_port": "500", "enabled": 1}, ["/enabled", "/remote_port"]),
        ({"children": [{"name": "n"}]}, ["/children/0/local_selectors", "/children/0/remote_selectors"]),
        ({"children": [{**NET, "start": "now"}]}, ["/children/0/start"]),
        ({"name": "moon"}, ["/name"]),
        ({"remote_id": "*?*"}, ["/remote_id"]),
        ({"ike_proposals": ["none"]}, ["/ike_proposals/0"]),
        ([], [""]),
        ("text", [""]),
        (None, [""]),
    ],
)
async def test_mistakes_are_named_with_their_place(client: httpx2.AsyncClient, body: Any, pointers: list[str]) -> None:
    wrong = problem(await client.put(f"{V1}/peers/sun", json=body), 422, "invalid")
    assert sorted(error["pointer"] for error in wrong["errors"]) == pointers


async def test_lists_go_on_where_they_stopped(client: httpx2.AsyncClient) -> None:
    names = [f"p{number:02}" for number in range(7)]
    peers = [{"name": name, "description": "odd" if int(name[1:]) % 2 else "Even"} for name in names]
    await client.put(f"{V1}/config", json={"apiVersion": "ikegate/v1", "peers": peers[::-1]})
    seen: list[str] = []
    cursor: str | None = None
    for expected in (3, 3, 1):
        page = (await client.get(f"{V1}/peers", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["items"]) == expected
        seen += [peer["name"] for peer in page["items"]]
        cursor = page["next_cursor"]
    assert seen == names
    assert cursor is None
    even = (await client.get(f"{V1}/peers", params={"q": "EVEN", "limit": 500})).json()
    assert [peer["name"] for peer in even["items"]] == names[::2]
    for query in ("limit=0", "limit=501", "limit=x", "cursor=%C3%BC", "cursor=A"):
        wrong = problem(await client.get(f"{V1}/peers?{query}"), 422, "invalid")
        assert wrong["errors"][0]["pointer"] == f"/query/{query.partition('=')[0]}"


async def test_a_cursor_outlives_the_object_it_points_at(client: httpx2.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await client.put(f"{V1}/psks/{name}", json=KEY)
    page = (await client.get(f"{V1}/psks?limit=2")).json()
    await client.delete(f"{V1}/psks/b")
    rest = (await client.get(f"{V1}/psks", params={"cursor": page["next_cursor"]})).json()
    assert [psk["name"] for psk in rest["items"]] == ["c"]
