"""Two gateways that really negotiate over loopback: actions, status, attempts, the data plane, events."""

import asyncio
import datetime as dt
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.service.gateway import Gateway
from gateway.wire.numbers import NotifyType
from tests.web.api_lab import ME, NET, SECRET, Api, configure, problem, running, sun_at

V1 = "/api/v1"


async def test_a_tunnel_is_connected_shown_rekeyed_and_taken_down(
    api: Api, client: httpx2.AsyncClient, far: Gateway
) -> None:
    await configure(client, far)
    waiting = (await client.get(f"{V1}/status/sun")).json()
    assert waiting["state"] in ("waiting", "down")

    up = await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    assert (up.status_code, up.json()["ok"]) == (200, True), up.text
    status = (await client.get(f"{V1}/status")).json()
    assert [(peer["name"], peer["state"]) for peer in status["peers"]] == [("sun", "up")]

    (asked,) = (await client.get(f"{V1}/events/history?topics=admin&limit=1")).json()["items"]
    assert asked["text"] == "token tests asked: connect sun. sun is up"

    (sa,) = (await client.get(f"{V1}/ike-sas?peer=sun")).json()["items"]
    assert (sa["state"], sa["local_id"], sa["remote_id"], sa["initiator"]) == (
        "established",
        "moon.example",
        "sun.example",
        True,
    )
    assert (await client.get(f"{V1}/ike-sas/{sa['id']}")).json()["spi_i"] == sa["spi_i"]
    (child,) = (await client.get(f"{V1}/child-sas")).json()["items"]
    assert (child["local_selectors"], child["remote_selectors"]) == (["10.1.0.0/24"], ["10.2.0.0/24"])
    assert (await client.get(f"{V1}/child-sas/{child['id']}")).json()["name"] == "net"

    states = (await client.get(f"{V1}/kernel/states")).json()["items"]
    assert {int(state["spi"], 16) for state in states} == {int(child["spi_in"], 16), int(child["spi_out"], 16)}
    policies = (await client.get(f"{V1}/kernel/policies")).json()["items"]
    assert {policy["direction"] for policy in policies} >= {"in", "out"}

    rekeyed = await client.post(f"{V1}/peers/sun/children/net/actions/rekey?wait=20")
    assert rekeyed.json()["ok"], rekeyed.text
    assert (await client.get(f"{V1}/child-sas")).json()["items"][-1]["spi_in"] != child["spi_in"]
    again = await client.post(f"{V1}/ike-sas/{sa['id']}/actions/rekey?wait=20")
    assert again.json()["ok"], again.text

    down = await client.post(f"{V1}/peers/sun/actions/disconnect?wait=20")
    assert down.json()["ok"], down.text
    assert (await client.get(f"{V1}/ike-sas")).json()["items"] == []
    assert (await client.get(f"{V1}/kernel/states")).json()["items"] == []


async def test_a_peer_that_called_is_sent_to_another_gateway(
    api: Api, client: httpx2.AsyncClient, far: Gateway
) -> None:
    child = {**NET, "start": "passive"}
    sun = {"name": "sun", "local_id": "moon.example", "remote_id": "sun.example", "children": [child]}
    psk = {"name": "sun", "secret": SECRET, "remote_ids": ["sun.example"]}
    answer = await client.put(f"{V1}/config", json={"apiVersion": "ikegate/v1", "peers": [sun], "psks": [psk]})
    assert answer.status_code == 200, answer.text
    calls = {"remote_addresses": ["127.0.0.1"], "remote_port": api.gateway.settings.nat_port}
    await far.config.patch("peers", "moon", calls, ME)
    assert (await far.actions.connect("moon", wait=20)).ok

    redirect = f"{V1}/peers/sun/actions/redirect?wait=20"
    problem(await client.post(redirect), 422, "invalid")
    problem(await client.post(redirect, json={"to": "127.0.0.1", "at": "once"}), 422, "invalid")
    problem(await client.post(f"{V1}/peers/none/actions/redirect", json={"to": "127.0.0.1"}), 404, "not-found")
    problem(await client.post(redirect, json={"to": "two words"}), 422, "invalid")
    nonsense = (await client.post(redirect, json={"to": "a..b"})).json()
    assert (nonsense["ok"], nonsense["text"]) == (False, "'a..b' is neither an address nor a DNS name")
    # The other gateway is this one again: the peer calls, stands, and leaves the IKE SA that it had.
    gone = await client.post(redirect, json={"to": "localhost"})
    assert (gone.status_code, gone.json()["ok"]) == (200, True), gone.text
    assert gone.json()["text"] == "sun has gone to localhost"
    (asked,) = (await client.get(f"{V1}/events/history?topics=admin&limit=1")).json()["items"]
    assert asked["text"] == "token tests asked: redirect sun to localhost. sun has gone to localhost"


async def test_outages_are_listed_the_newest_first(client: httpx2.AsyncClient, far: Gateway) -> None:
    await configure(client, far)
    assert (await client.get(f"{V1}/peers/sun/outages")).json()["items"] == []
    await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    for _ in range(2):
        await client.post(f"{V1}/peers/sun/actions/disconnect?wait=20")
        await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    await client.post(f"{V1}/peers/sun/actions/disconnect?wait=20")
    found = (await client.get(f"{V1}/peers/sun/outages?limit=2")).json()
    lasting, ended = found["items"]
    assert (lasting["kind"], lasting["reason"]) == ("administrator", "disconnected by an administrator")
    assert (lasting["child"], lasting["start"], lasting["ended_at"]) == ("net", "passive", None)
    assert ended["ended_by"] == "we called and the peer answered"
    assert ended["began_at"] <= ended["ended_at"] <= lasting["began_at"]
    (first,) = (await client.get(f"{V1}/peers/sun/outages?cursor={found['next_cursor']}")).json()["items"]
    assert first["id"] < ended["id"] < lasting["id"]
    assert (await client.get(f"{V1}/peers/nobody/outages")).status_code == 404


async def test_outages_outlive_the_gateway(tmp_path: Path, far: Gateway) -> None:
    psk = {"name": "sun", "secret": SECRET, "remote_ids": ["sun.example"]}
    async with running(tmp_path / "near") as near:
        await near.config.apply({"apiVersion": "ikegate/v1", "peers": [sun_at(far)], "psks": [psk]}, ME)
        for _ in range(2):
            assert (await near.actions.connect("sun", wait=20)).ok
            assert (await near.actions.disconnect("sun", wait=20)).ok
        before = near.outages("sun")
    async with running(tmp_path / "near") as near:
        assert near.outages("sun") == before
        assert (await near.actions.connect("sun", wait=20)).ok
        assert near.outages("sun")[0].ended_by == "we called and the peer answered"
    async with running(tmp_path / "near") as near:
        stopped, ended, first = near.outages("sun")
        assert (stopped.reason, stopped.ended_at) == ("this gateway stops", None)
        assert (ended.id, first.id) == (before[0].id, before[1].id)
        assert ended.ended_by == "we called and the peer answered"


async def test_the_status_says_in_a_sentence_why_a_tunnel_carries_nothing(
    api: Api, client: httpx2.AsyncClient, far: Gateway
) -> None:
    """At once, not after a while: never up when no CHILD_SA can carry traffic, and said when there is one too many."""

    async def told() -> tuple[str, str, str]:
        peer = (await client.get(f"{V1}/status/sun")).json()
        return peer["state"], peer["reason"], peer["children"][0]["state"]

    await configure(client, far)
    wanted = sun_at(far) | {"children": [{**NET, "start": "always"}], "remote_port": far.settings.nat_port}
    await client.put(f"{V1}/peers/sun", json=wanted | {"remote_addresses": ["127.0.0.9"], "remote_port": 9})
    state, reason, child = await told()
    assert state in ("connecting", "down")
    assert reason
    assert child == "down"
    await client.put(f"{V1}/peers/sun", json=wanted)
    answer = await client.post(f"{V1}/peers/sun/actions/connect", params={"wait": 20})
    assert answer.is_success, answer.text
    assert await told() == ("up", "", "up")
    (sa,) = api.gateway._engine.ike_sas()
    (made,) = sa.children.values()
    extra = replace(made, id=made.id + 1)
    sa.children[extra.spi_in ^ 1] = extra
    sentence = "net: 2 CHILD_SAs carry the same traffic, where one should; one of them goes"
    assert await told() == ("up", sentence, "up")
    del sa.children[extra.spi_in ^ 1]
    plane = api.gateway._plane
    assert isinstance(plane, MemoryPlane)
    plane.take_away([made.outbound.key])
    await asyncio.sleep(1.1)  # the data plane is read at most once a second
    state, reason, child = await told()
    assert (state, child) == ("down", "down")
    assert reason.startswith("net: its states were removed from the data plane, and not by this gateway")


async def test_the_status_says_since_when_it_is_so_also_to_who_looks_later(
    client: httpx2.AsyncClient, far: Gateway
) -> None:
    await configure(client, far)
    await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    await asyncio.sleep(7)  # the gateway looks every five seconds
    (sa,) = (await client.get(f"{V1}/ike-sas")).json()["items"]
    told = (await client.get(f"{V1}/status/sun")).json()
    assert told["state"] == "up"
    assert abs(told["since"] - sa["established_at"]) < 2, told


async def test_a_begun_action_is_accepted_at_once(client: httpx2.AsyncClient, far: Gateway) -> None:
    await configure(client, far)
    begun = await client.post(f"{V1}/peers/sun/actions/connect")
    assert (begun.status_code, begun.json()["ok"]) == (202, True)
    while not (await client.get(f"{V1}/ike-sas")).json()["items"]:
        await asyncio.sleep(0.05)
    await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    (sa,) = (await client.get(f"{V1}/ike-sas")).json()["items"]
    ended = await client.post(f"{V1}/ike-sas/{sa['id']}/actions/terminate?wait=20")
    assert (ended.status_code, ended.json()["ike_sa"]) == (200, sa["id"])


async def test_an_attempt_says_why_it_failed(client: httpx2.AsyncClient, far: Gateway) -> None:
    await configure(client, far, secret="something else entirely")
    failed = await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    assert (failed.status_code, failed.json()["ok"]) == (200, False)
    number = failed.json()["attempt"]
    assert failed.headers["location"] == f"{V1}/attempts/{number}"
    attempt = (await client.get(failed.headers["location"])).json()
    assert attempt["outcome"] == "failed"
    assert attempt["cause"]
    assert attempt["reason"]
    assert attempt["advice"]
    assert attempt["id"] == number
    assert attempt["steps"][-1]["done"] is False
    assert abs(attempt["started"] - dt.datetime.now(dt.UTC).timestamp()) < 60
    messages = (await client.get(f"{V1}/attempts/{number}/messages")).json()["items"]
    assert len(messages) == attempt["messages"]
    assert [message["exchange"] for message in messages[:2]] == ["IKE_SA_INIT", "IKE_SA_INIT"]
    listed = (await client.get(f"{V1}/attempts?peer=sun&limit=1")).json()
    assert listed["items"][0]["id"] == number
    assert (await client.get(f"{V1}/attempts?before={number}&peer=sun")).json()["items"] == []
    problem(await client.get(f"{V1}/attempts/999999"), 404, "not-found")
    problem(await client.get(f"{V1}/attempts/999999/messages"), 404, "not-found")


async def test_a_rekey_that_the_peer_refuses_is_told_at_once_and_why(
    api: Api, client: httpx2.AsyncClient, far: Gateway
) -> None:
    """IKE_AUTH agrees on no key exchange for the first child (RFC 7296 1.2); only its rekey shows that none fits."""
    for gateway, suite in ((api.gateway, "aes128gcm16-x25519"), (far, "aes128gcm16")):
        esp = {"name": "net-esp", "protocol": "esp", "suites": [suite]}
        await gateway.config.apply({"apiVersion": "ikegate/v1", "proposals": [esp]}, ME)
    await configure(client, far)
    await client.patch(f"{V1}/peers/sun/children/net", json={"esp_proposals": ["net-esp"]})
    await far.config.patch("children", "moon/net", {"esp_proposals": ["net-esp"]}, ME)
    up = await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    assert up.json()["ok"], up.text
    begun = time.monotonic()
    done = (await client.post(f"{V1}/peers/sun/children/net/actions/rekey?wait=20")).json()
    assert time.monotonic() - begun < 10
    attempt = (await client.get(f"{V1}/attempts/{done['attempt']}")).json()
    assert (attempt["outcome"], attempt["cause"]) == ("failed", "no-esp-proposal")
    assert done["ok"] is False
    assert done["text"] == f"sun/net is not rekeyed: {attempt['reason']}. {attempt['advice']}"
    assert len((await client.get(f"{V1}/child-sas")).json()["items"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/peers/none/actions/connect",
        "/peers/none/actions/disconnect",
        "/peers/none/actions/rekey",
        "/peers/sun/children/none/actions/connect",
        "/ike-sas/999/actions/terminate",
        "/ike-sas/999/actions/rekey",
    ],
)
async def test_nothing_can_be_done_to_what_is_not_there(client: httpx2.AsyncClient, path: str) -> None:
    await client.put(f"{V1}/peers/sun", json={"remote_id": "sun.example"})
    problem(await client.post(V1 + path), 404, "not-found")


async def test_unknown_verbs_and_numbers(client: httpx2.AsyncClient) -> None:
    await client.put(f"{V1}/peers/sun", json={"remote_id": "sun.example"})
    problem(await client.post(f"{V1}/peers/sun/actions/explode"), 422, "invalid")
    problem(await client.post(f"{V1}/peers/sun/actions/connect?wait=61"), 422, "invalid")
    problem(await client.get(f"{V1}/ike-sas/one"), 422, "invalid")
    for path in ("ike-sas/1", "child-sas/1", "status/none"):
        problem(await client.get(f"{V1}/{path}"), 404, "not-found")


async def test_the_system_tells_of_itself(api: Api, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    system = (await client.get(f"{V1}/system")).json()
    assert system["name"] == "gw.example"
    assert system["revision"] == 1
    assert 0 <= system["uptime"] < 60
    assert len(system["listening"]) >= 2
    assert (await nobody.get("/healthz")).json() == {"ok": True, "problems": []}
    assert (await nobody.get("/readyz")).status_code == 200
    await api.gateway._runner.stop()
    not_ready = await nobody.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["ok"]) == (503, False)


async def test_a_rekey_waits_for_a_peer_that_is_busy(api: Api, client: httpx2.AsyncClient, far: Gateway) -> None:
    """Its rekey of the IKE SA and ours of the child meet: each refuses the other's (RFC 7296 2.25.1, 2.25.2)."""
    await configure(client, far)
    up = await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    assert up.json()["ok"], up.text
    ours, theirs = await asyncio.gather(
        api.gateway.actions.rekey("sun", "net", wait=20), far.actions.rekey("moon", wait=20)
    )
    refused = [one.cause for one in api.gateway.attempts(peer="sun") if one.notify == NotifyType.TEMPORARY_FAILURE]
    assert refused == ["refused", "refused"]
    assert (ours.ok, ours.text) == (True, "sun/net is rekeyed")
    assert (theirs.ok, theirs.text) == (True, "moon is rekeyed"), theirs.text
