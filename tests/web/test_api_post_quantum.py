"""What is demanded of keys against quantum computers over the API, and who would be refused."""

import time

import httpx2
import pytest

from gateway.ike import quantum
from tests.web.api_lab import SUN, Api, problem

V1 = "/api/v1"
DAY = 86_400.0


async def rows(client: httpx2.AsyncClient, query: str = "") -> dict[str, dict[str, object]]:
    found = (await client.get(f"{V1}/post-quantum{query}")).json()["items"]
    return {row["peer"]: row for row in found}


async def test_a_demand_is_the_peers_own_or_that_of_all(api: Api, client: httpx2.AsyncClient) -> None:
    made = await client.put(f"{V1}/peers/sun", json=SUN)
    assert (made.json()["object"]["post_quantum"], made.json()["object"]["post_quantum_from"]) == ("default", None)
    await client.put(f"{V1}/peers/moon", json={**SUN, "ike_proposals": ["modern-ike"], "remote_id": "moon.example"})
    found = await rows(client)
    assert found["sun"] == {
        "peer": "sun",
        "demand": "prefer",
        "required_from": None,
        "up": False,
        "keys": None,
        "since": None,
        "breaks": None,
        "why": "it was not up since the gateway started",
        "retry_at": None,
    }
    assert (found["moon"]["breaks"], found["moon"]["why"]) == (
        True,
        "our proposals for it have no ML-KEM, and it has no PPK",
    )
    assert list(await rows(client, "?breaks=true")) == ["moon"]
    day = float(int(time.time() + 3 * DAY))
    patched = await client.patch(f"{V1}/settings", json={"post_quantum": "require", "post_quantum_from": day})
    assert patched.status_code == 200, patched.text
    await client.patch(f"{V1}/peers/sun", json={"post_quantum": "off"})
    found = await rows(client)
    assert [(one["demand"], one["required_from"]) for one in found.values()] == [("prefer", day), ("off", None)]
    (warning,) = (await client.get(f"{V1}/status")).json()["problems"]
    assert "moon will be refused: post-quantum keys are required then (moon: our proposals" in warning
    await client.patch(f"{V1}/settings", json={"post_quantum_from": None})
    assert (await rows(client))["moon"]["demand"] == "require"
    assert (await client.get(f"{V1}/status")).json()["problems"] == []
    assert api.gateway.config.snapshot().peers["sun"].post_quantum is not None


async def test_who_fell_back_is_told_with_when_it_is_tried_again(api: Api, client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json=SUN)
    core = api.gateway._engine.core
    quantum.fall_back(core, core.snapshot.peers["sun"])
    again = (await rows(client))["sun"]["retry_at"]
    assert isinstance(again, float)
    assert again == pytest.approx(time.time() + quantum.FALL_BACK, abs=30)


@pytest.mark.parametrize(
    ("fields", "pointer", "told"),
    [
        ({"post_quantum": "require", "ike_proposals": ["modern-ike"]}, "/post_quantum", "name modern-pq-ike"),
        ({"post_quantum": "prefer", "post_quantum_from": 2e9}, "/post_quantum_from", "choose `require`"),
        ({"post_quantum_from": 2e9}, "/post_quantum_from", "or a day in the settings"),
        ({"post_quantum": "always"}, "/post_quantum", "default"),
        ({"post_quantum_from": -1.0}, "/post_quantum_from", "greater than or equal to 0"),
    ],
)
async def test_a_demand_that_makes_no_sense(
    client: httpx2.AsyncClient, fields: dict[str, object], pointer: str, told: str
) -> None:
    found = problem(await client.put(f"{V1}/peers/sun", json={**SUN, **fields}), 422, "invalid")["errors"]
    assert [(one["pointer"], told in one["detail"]) for one in found] == [(pointer, True)]


async def test_a_ppk_is_a_means_to_require(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/ppks/key", json={"identity": "key", "secret": "0x" + "11" * 32})
    fields = {"post_quantum": "require", "ike_proposals": ["modern-ike"], "ppks": ["key"]}
    assert (await client.put(f"{V1}/peers/sun", json={**SUN, **fields})).status_code == 201
    settings = await client.patch(f"{V1}/settings", json={"post_quantum": "off", "post_quantum_from": 2e9})
    assert problem(settings, 422, "invalid")["errors"][0]["pointer"] == "/post_quantum_from"
