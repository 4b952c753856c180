"""Shunts, blocked sources and the settings through the API."""

import time
from typing import Any

import httpx2
import pytest

from gateway.storage.rules import SettingsObject
from tests.web.api_lab import SUN, Api, problem

V1 = "/api/v1"
LAN: dict[str, Any] = {"action": "pass", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.1.0.0/16"]}


async def test_a_shunt_from_put_to_delete(client: httpx2.AsyncClient, api: Api) -> None:
    made = await client.put(f"{V1}/shunts/lan", json={**LAN, "name": None}, headers={"if-none-match": "*"})
    assert (made.status_code, made.headers["etag"]) == (201, '"2"')
    whole = {"name": "lan", "description": "", **LAN, "priority": 100}
    assert made.json()["object"] == whole
    assert made.json()["impact"]["shunts_added"] == ["lan"]
    assert made.json()["impact"]["text"] == "Lays shunt lan."
    assert [shunt.name for shunt in api.gateway.config.snapshot().shunts] == ["lan"]
    found = await client.get(f"{V1}/shunts/lan")
    assert (found.json(), found.headers["etag"]) == (whole, '"2"')
    again = await client.put(f"{V1}/shunts/lan", json=whole)
    assert (again.status_code, again.json()["changed"]) == (200, False)
    stale = await client.patch(f"{V1}/shunts/lan", json={"priority": 5}, headers={"if-match": '"1"'})
    problem(stale, 412, "changed-since")
    later = await client.patch(f"{V1}/shunts/lan?dry_run=true", json={"priority": 5}, headers={"if-match": '"2"'})
    assert later.json()["impact"]["text"] == "Lays anew shunt lan."
    await client.put(f"{V1}/shunts/other", json={**LAN, "description": "for the printer"})
    assert [one["name"] for one in (await client.get(f"{V1}/shunts?q=PRINTER")).json()["items"]] == ["other"]
    page = (await client.get(f"{V1}/shunts?limit=1")).json()
    assert [one["name"] for one in page["items"]] == ["lan"]
    rest = (await client.get(f"{V1}/shunts", params={"cursor": page["next_cursor"]})).json()
    assert ([one["name"] for one in rest["items"]], rest["next_cursor"]) == (["other"], None)
    gone = await client.delete(f"{V1}/shunts/lan")
    assert (gone.json()["object"], gone.json()["impact"]["text"]) == (None, "Takes away shunt lan.")
    problem(await client.get(f"{V1}/shunts/lan"), 404, "not-found")


async def test_a_block_is_addressed_by_its_network(client: httpx2.AsyncClient, api: Api) -> None:
    soon = time.time() + 3600
    made = await client.put(f"{V1}/blocks/198.51.100.7", json={"reason": "guesses", "expires_at": soon})
    assert made.status_code == 201
    whole = {"network": "198.51.100.7/32", "reason": "guesses", "expires_at": soon, "active": True}
    assert made.json()["object"] == whole
    assert made.json()["impact"]["text"] == "Blocks 198.51.100.7/32."
    for address in ("198.51.100.7/32", "198.51.100.7", "198.51.100.7%2F32"):
        found = await client.get(f"{V1}/blocks/{address}")
        assert (found.json(), found.headers["etag"]) == (whole, '"2"')
    assert not (await client.put(f"{V1}/blocks/198.51.100.7/32", json=whole)).json()["changed"]
    over = await client.patch(f"{V1}/blocks/198.51.100.7", json={"expires_at": 1})
    assert over.json()["object"]["active"] is False
    assert over.json()["impact"]["text"] == "Lets in 198.51.100.7/32."
    assert api.gateway.config.snapshot().blocked == ()
    six = await client.put(f"{V1}/blocks/2001:DB8::/32", json={})
    assert six.json()["object"]["network"] == "2001:db8::/32"
    assert [one["network"] for one in (await client.get(f"{V1}/blocks?q=GUESSES")).json()["items"]] == [
        "198.51.100.7/32"
    ]
    gone = await client.delete(f"{V1}/blocks/2001:db8::/32")
    assert gone.json()["impact"]["blocked_removed"] == ["2001:db8::/32"]
    problem(await client.get(f"{V1}/blocks/2001:db8::/32"), 404, "not-found")


@pytest.mark.parametrize("address", ["198.51.100.7/24", "nobody", "198.51.100.0/24/more", "x" * 70, "%00"])
async def test_an_address_that_names_no_network(client: httpx2.AsyncClient, address: str) -> None:
    answer = problem(await client.put(f"{V1}/blocks/{address}", json={}), 422, "invalid")
    assert answer["errors"][0]["pointer"] == "/path/network"


async def test_a_block_names_what_it_would_cut_off(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json=SUN)
    answer = problem(await client.put(f"{V1}/blocks/192.0.2.0/24", json={}), 422, "invalid")
    assert "192.0.2.1 of peer 'sun'" in answer["errors"][0]["detail"]
    other = problem(
        await client.put(f"{V1}/blocks/198.51.100.0/24", json={"network": "203.0.113.0/24"}), 422, "invalid"
    )
    assert [error["pointer"] for error in other["errors"]] == ["/network"]


async def test_settings_are_read_set_and_patched(client: httpx2.AsyncClient, api: Api) -> None:
    found = await client.get(f"{V1}/settings")
    assert (found.json(), found.headers["etag"]) == (SettingsObject().model_dump(), '"1"')
    patched = await client.patch(f"{V1}/settings", json={"puzzles": True, "keepalive": 15}, headers={"if-match": '"1"'})
    assert (patched.status_code, patched.headers["etag"]) == (200, '"2"')
    assert patched.json()["object"] == SettingsObject(puzzles=True, keepalive=15).model_dump()
    assert patched.json()["impact"]["text"] == "Sets keepalive, puzzles."
    assert api.gateway.config.snapshot().settings.keepalive == 15
    problem(await client.put(f"{V1}/settings", json={}, headers={"if-match": '"1"'}), 412, "changed-since")
    wrong = problem(await client.put(f"{V1}/settings", json={"retry_limit": 0.5}), 422, "invalid")
    assert [error["pointer"] for error in wrong["errors"]] == ["/retry_limit"]
    dry = await client.put(f"{V1}/settings?dry_run=true", json={})
    assert (dry.json()["changed"], dry.json()["impact"]["settings"]) == (True, ["keepalive", "puzzles"])
    assert (await client.put(f"{V1}/settings", json={"keepalive": 15})).json()["impact"]["settings"] == ["puzzles"]


async def test_all_of_it_is_in_the_document(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/shunts/lan", json=LAN)
    await client.put(f"{V1}/blocks/198.51.100.7", json={"expires_at": 1})
    await client.patch(f"{V1}/settings", json={"puzzles": True})
    exported = await client.get(f"{V1}/config/export")
    assert "blocks:\n- network: 198.51.100.7/32\n" in exported.text
    assert "settings:\n  half_open_timeout: 30.0\n" in exported.text
    back = await client.put(
        f"{V1}/config?prune=true", content=exported.content, headers={"content-type": "application/yaml"}
    )
    assert not back.json()["changed"]
    bare = await client.put(f"{V1}/config?prune=true&dry_run=true", json={"apiVersion": "ikegate/v1"})
    assert {one["kind"] for one in bare.json()["differences"]} == {"proposals", "shunts", "blocks", "settings"}
