"""Users, pools and leases through the API."""

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx2
import pytest

from gateway.ike.effects import Leased
from gateway.ike.leases import Wanted
from gateway.policy.identities import Identity
from gateway.policy.pools import Pool
from gateway.policy.users import User
from tests.pki import issue, root
from tests.web.api_lab import SUN, Api, problem, running
from web.qr import qr_code

V1 = "/api/v1"
ROOT = root("O=Lab, CN=People Root")
POOL: dict[str, Any] = {"networks": ["10.9.0.0/24", "fd00:9::/64"], "dns": ["10.1.0.53"], "domains": ["Corp.example."]}
ANNA: dict[str, Any] = {"login": "anna@example.com", "password": "her secret words", "addresses": ["10.9.0.7"]}
WARRIORS: dict[str, Any] = {
    **{key: value for key, value in SUN.items() if key != "remote_addresses"},
    "remote_id": "*@example.com",
    "pools": ["office"],
    "children": [{"name": "net", "local_selectors": ["10.1.0.0/16"], "remote_selectors": [], "start": "passive"}],
}


async def test_a_pool_and_a_peer_that_gives_from_it(client: httpx2.AsyncClient, api: Api) -> None:
    made = await client.put(f"{V1}/pools/office", json=POOL)
    assert made.status_code == 201
    assert made.json()["object"]["excluded"] == []
    assert made.json()["impact"]["pools"] == ["office"]
    assert (await client.put(f"{V1}/peers/people", json=WARRIORS)).status_code == 201
    snapshot = api.gateway.config.snapshot()
    assert snapshot.pools["office"].domains == ("corp.example",)
    assert snapshot.peers["people"].pools == ("office",)
    assert snapshot.peers["people"].children[0].remote == ()
    assert problem(await client.delete(f"{V1}/pools/office"), 409, "in-use")["used_by"] == ["peers/people"]
    assert (await client.get(f"{V1}/leases")).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"networks": ["10.9.0.1/24"]}, "/networks/0", "invalid-network"),
        ({"networks": ["10.9.0.0/24[tcp]"]}, "/networks/0", "invalid-network"),
        ({"networks": ["10.9.0.1/32"], "excluded": ["10.9.0.1"]}, "/networks", "empty"),
        ({"dns": ["ns.example"]}, "/dns/0", "invalid-address"),
        ({"nbns": ["fd00::1"]}, "/nbns/0", "invalid-address"),
        ({"domains": ["no domain"]}, "/domains/0", "invalid-domain"),
        ({"dns": []}, "/domains", "no-dns"),
        ({"subnets": ["10.1.0.1/16"]}, "/subnets/0", "invalid-network"),
        ({"reservations": [{"identity": "a@b.c", "address": "10.8.0.1"}]}, "/reservations/0/address", "outside"),
        (
            {"reservations": [{"identity": name, "address": "10.9.0.5"} for name in ("a@b.c", "d@b.c")]},
            "/reservations/1/address",
            "duplicate",
        ),
    ],
)
async def test_a_pool_that_makes_no_sense(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    answer = problem(await client.put(f"{V1}/pools/office", json=POOL | change), 422, "invalid")
    assert (answer["errors"][0]["pointer"], answer["errors"][0]["code"]) == (pointer, code)


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"pools": []}, "/children/0/remote_selectors", "too_short"),
        ({"pools": ["other"]}, "/pools/0", "unknown-reference"),
        ({"children": [{**WARRIORS["children"][0], "start": "always"}]}, "/children/0/start", "leased-address"),
        ({"children": [{**WARRIORS["children"][0], "mode": "transport"}]}, "/children/0/mode", "leased-address"),
        (
            {"children": [{**WARRIORS["children"][0], "local_selectors": []}]},
            "/children/0/local_selectors",
            "too_short",
        ),
    ],
)
async def test_a_peer_without_what_it_gives_or_takes(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    answer = problem(await client.put(f"{V1}/peers/people", json=WARRIORS | change), 422, "invalid")
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in answer["errors"]]


async def test_a_users_password_goes_in_and_never_comes_out(client: httpx2.AsyncClient, api: Api) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    made = await client.put(f"{V1}/users/anna", json=ANNA)
    assert made.status_code == 201
    assert made.json()["object"]["password_set"] is True
    assert made.json()["impact"]["users"] == ["anna@example.com"]
    later = await client.patch(f"{V1}/users/anna", json={"sessions": 2, "groups": ["staff"]})
    texts = [made.text, later.text, (await client.get(f"{V1}/users")).text, (await client.get(f"{V1}/config")).text]
    assert not any("secret words" in text for text in texts)
    snapshot = api.gateway.config.snapshot()
    assert snapshot.users["anna@example.com"] == User(
        "anna@example.com", b"her secret words", groups=("staff",), addresses=("10.9.0.7",), sessions=2
    )
    (reserved,) = snapshot.pools["office"].reservations
    assert (str(reserved.identity), reserved.address) == ("anna@example.com", "10.9.0.7")
    plain = await client.put(f"{V1}/users/bert", json={})
    assert plain.json()["object"]["password_set"] is False


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"addresses": ["10.7.0.1"]}, "/addresses/0", "outside"),
        ({"addresses": ["10.9.0.7"]}, "/addresses/0", "duplicate"),
        ({"addresses": ["ten"]}, "/addresses/0", "invalid-address"),
        ({"login": "anna@EXAMPLE.com"}, "/login", "duplicate"),
        ({"identities": ["anna@example.com"]}, "/identities", "duplicate"),
        ({"identities": ["CN="]}, "/identities/0", "invalid-identity"),
        ({"login": "a b"}, "/login", "string_pattern_mismatch"),
        ({"groups": ["No Name"]}, "/groups/0", "string_pattern_mismatch"),
    ],
)
async def test_nobody_is_two_nor_has_what_is_anothers(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    await client.put(f"{V1}/users/anna", json=ANNA)
    answer = problem(await client.put(f"{V1}/users/bert", json=change), 422, "invalid")
    assert (answer["errors"][0]["pointer"], answer["errors"][0]["code"]) == (pointer, code)


async def test_a_file_for_a_device_is_served_or_said_why_not(client: httpx2.AsyncClient, api: Api) -> None:
    await client.put(f"{V1}/pools/office", json=POOL)
    await client.put(f"{V1}/users/anna", json=ANNA)
    answer = problem(await client.get(f"{V1}/users/anna/profiles/apple"), 422, "invalid")
    assert answer["errors"][0]["detail"] == "no peer asks for a password yet"
    gate = issue("CN=gate", ROOT, "dns:gate.example")
    await client.put(f"{V1}/authorities/root", json={"certificate": ROOT.pem})
    await client.put(f"{V1}/certificates/gate", json={"certificate": gate.pem, "private_key": gate.key_pem})
    eap = {
        "local_id": "gate.example",
        "local_auth": [{"method": "certificate", "certificate": "gate"}],
        "remote_auth": [{"method": "eap"}],
    }
    made = await client.put(f"{V1}/peers/people", json=WARRIORS | eap)
    assert made.status_code == 201, made.text
    for device, kind in (("apple", "application/x-apple-aspen-config"), ("swanctl", "text/plain; charset=utf-8")):
        file = await client.get(f"{V1}/users/anna/profiles/{device}")
        assert (file.status_code, file.headers["content-type"]) == (200, kind)
        assert 'filename="anna.' in file.headers["content-disposition"]
        assert b"secret words" not in file.content and b"anna@example.com" in file.content
    problem(await client.get(f"{V1}/users/nobody/profiles/apple"), 404, "not-found")
    problem(await client.get(f"{V1}/users/anna/profiles/apple?peer=nobody"), 404, "not-found")
    problem(await client.get(f"{V1}/users/anna/profiles/toaster"), 422, "invalid")


async def test_a_kept_lease_is_forgotten_and_one_in_use_is_not(client: httpx2.AsyncClient, api: Api) -> None:
    leases = api.gateway._engine.core.extensions.leases
    pool = Pool("office", ("10.9.0.0/24",))
    first, second = (leases.take(pool, 4, Wanted(Identity.parse(name)), 1.0) for name in ("anna", "bert"))
    assert first is not None and second is not None
    leases.release(second, 2.0)
    listed = (await client.get(f"{V1}/leases?pool=office")).json()["items"]
    assert [(one["address"], one["in_use"]) for one in listed] == [("10.9.0.1", True), ("10.9.0.2", False)]
    assert [one["identity"] for one in (await client.get(f"{V1}/leases?q=BERT")).json()["items"]] == ["bert"]
    assert "in use" in problem(await client.delete(f"{V1}/leases/office/10.9.0.1"), 409, "in-use")["detail"]
    assert (await client.delete(f"{V1}/leases/office/10.9.0.2")).status_code == 204
    problem(await client.delete(f"{V1}/leases/office/10.9.0.2"), 404, "not-found")
    problem(await client.delete(f"{V1}/leases/office/nowhere"), 404, "not-found")
    assert [one.address for one in api.gateway.leases()] == ["10.9.0.1"]


async def test_leases_outlive_the_process(tmp_path: Path) -> None:
    pool = Pool("office", ("10.9.0.0/24", "fd00:9::/64"))
    async with running(tmp_path) as gateway:
        for version in (4, 6):
            lease = gateway._engine.core.extensions.leases.take(pool, version, Wanted(Identity.parse("anna")), 1.0)
            assert lease is not None
            gateway._runner.perform([Leased(lease)])
    async with running(tmp_path) as gateway:
        found = gateway.leases()
        assert [(one.address, one.identity.text, one.since) for one in found] == [
            ("10.9.0.1", "anna", 1.0),
            ("fd00:9::1", "anna", 1.0),
        ]
        assert all(one.released is not None for one in found)


async def test_one_time_codes_are_shown_once_and_taken_away(client: httpx2.AsyncClient, api: Api) -> None:
    config = api.gateway.config
    await client.put(f"{V1}/users/anna", json={"login": "anna@example.com", "password": "her secret words"})
    assert (await client.get(f"{V1}/users/anna")).json()["totp_set"] is False
    made = (await client.post(f"{V1}/users/anna/actions/generate-totp")).json()
    secret = config.snapshot().users["anna@example.com"].totp_secret
    assert len(secret) == 20
    assert made["typed"] == base64.b32encode(secret).decode()
    begins = f"otpauth://totp/gw.example:anna@example.com?secret={made['typed']}&issuer=gw.example"
    assert made["uri"].startswith(begins)
    assert made["qr"] == qr_code(made["uri"]).svg
    assert ET.fromstring(made["qr"]).tag == "{http://www.w3.org/2000/svg}svg"
    shown = await client.get(f"{V1}/users/anna")
    assert shown.json()["totp_set"] is True
    everything = shown.text + (await client.get(f"{V1}/config")).text
    assert made["typed"] not in everything
    await client.put(f"{V1}/users/anna", json={"login": "anna@example.com", "groups": ["staff"]})
    assert config.snapshot().users["anna@example.com"].totp_secret == secret, "a change keeps it"
    trial = await client.post(f"{V1}/users/anna/actions/generate-totp", params={"dry_run": True})
    problem(trial, 422, "invalid")
    assert config.snapshot().users["anna@example.com"].totp_secret == secret, "what is not kept is not shown"
    again = (await client.post(f"{V1}/users/anna/actions/generate-totp")).json()
    assert again["typed"] != made["typed"]
    assert (await client.delete(f"{V1}/users/anna/totp")).status_code == 204
    assert config.snapshot().users["anna@example.com"].totp_secret == b""
    assert config.snapshot().users["anna@example.com"].password == b"her secret words"
    problem(await client.post(f"{V1}/users/nobody/actions/generate-totp"), 404, "not-found")


async def test_one_time_codes_go_with_their_user(client: httpx2.AsyncClient, api: Api) -> None:
    await client.put(f"{V1}/users/anna", json={"password": "her secret words"})
    await client.post(f"{V1}/users/anna/actions/generate-totp")
    await client.delete(f"{V1}/users/anna")
    await client.put(f"{V1}/users/anna", json={"password": "other secret words"})
    assert api.gateway.config.snapshot().users["anna"].totp_secret == b""
