"""RADIUS servers through the API."""

from typing import Any

import httpx2
import pytest

from tests.web.api_lab import Api, problem

V1 = "/api/v1"
SERVER: dict[str, Any] = {"address": "192.0.2.9", "secret": "a secret of two", "priority": 5}


async def test_a_server_keeps_its_secret_and_is_asked_in_its_turn(client: httpx2.AsyncClient, api: Api) -> None:
    later = {**SERVER, "priority": 9, "address": "2001:DB8::9"}
    assert (await client.put(f"{V1}/radius/second", json=later)).status_code == 201
    assert (await client.put(f"{V1}/radius/first", json=SERVER)).status_code == 201
    shown = await client.get(f"{V1}/radius/first")
    assert shown.json()["secret_set"] is True and "secret of two" not in shown.text
    assert "secret of two" not in (await client.get(f"{V1}/config")).text
    servers = api.gateway.config.snapshot().radius
    assert [(one.name, one.address) for one in servers] == [("first", "192.0.2.9"), ("second", "2001:db8::9")]
    assert (await client.put(f"{V1}/radius/first", json={"address": "192.0.2.9", "tries": 5})).status_code == 200
    servers = api.gateway.config.snapshot().radius
    assert [(one.name, one.tries) for one in servers] == [("second", 3), ("first", 5)]
    assert all(one.secret == b"a secret of two" for one in servers)


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"address": "radius.example"}, "/address", "invalid-address"),
        ({"secret": None}, "/secret", "missing"),
    ],
)
async def test_what_is_no_server_is_refused(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    body = {name: value for name, value in {**SERVER, **change}.items() if value is not None}
    refused = problem(await client.put(f"{V1}/radius/one", json=body), 422, "invalid")
    assert (refused["errors"][0]["pointer"], refused["errors"][0]["code"]) == (pointer, code)


async def test_radius_decides_alone(client: httpx2.AsyncClient) -> None:
    peer = {"remote_auth": [{"method": "eap", "eap_methods": ["radius", "md5"]}], "remote_id": "%any"}
    refused = problem(await client.put(f"{V1}/peers/people", json=peer), 422, "invalid")
    assert "radius-alone" in [one["code"] for one in refused["errors"]]
