"""Post-quantum pre-shared keys over the API: written, never shown, made at random, in use by peers."""

import base64

import httpx2

from tests.web.api_lab import SUN, Api, problem

V1 = "/api/v1"
SECRET = "0x" + bytes(range(100, 132)).hex()


async def test_a_key_goes_in_and_does_not_come_out(api: Api, client: httpx2.AsyncClient) -> None:
    made = await client.put(f"{V1}/ppks/this-year", json={"identity": "2026.sun", "secret": SECRET})
    assert made.status_code == 201, made.text
    shown = (await client.get(f"{V1}/ppks/this-year")).json()
    assert (shown["identity"], shown["secret_set"]) == ("2026.sun", True)
    listed = (await client.get(f"{V1}/ppks?q=2026")).json()["items"]
    assert [one["name"] for one in listed] == ["this-year"]
    for answer in (made, await client.get(f"{V1}/ppks"), await client.get(f"{V1}/config")):
        assert SECRET[2:] not in answer.text
        assert base64.b64encode(bytes(range(100, 132))).decode()[:40] not in answer.text
    peer = await client.put(f"{V1}/peers/sun", json={**SUN, "ppks": ["this-year"], "ppk_required": True})
    assert peer.status_code == 201, peer.text
    problem(await client.delete(f"{V1}/ppks/this-year"), 409, "in-use")
    kept = await client.patch(f"{V1}/ppks/this-year", json={"description": "until May"})
    assert kept.status_code == 200, kept.text
    assert api.gateway.config.snapshot().ppks["this-year"].secret == bytes(range(100, 132))


async def test_a_random_key_has_256_bits_and_is_another_one_each_time(client: httpx2.AsyncClient) -> None:
    found = {(await client.post(f"{V1}/ppks/actions/generate")).json()["random"] for _ in range(3)}
    assert len(found) == 3
    for text in found:
        assert text.startswith("0s")
        assert len(base64.b64decode(text[2:], validate=True)) == 32
        assert (await client.put(f"{V1}/ppks/made", json={"identity": "made", "secret": text})).is_success
    assert (await client.get(f"{V1}/ppks")).json()["items"][0]["name"] == "made"


async def test_a_short_one_is_refused_without_repeating_it(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"{V1}/ppks/short", json={"identity": "short", "secret": "not 32 octets"})
    problem(answer, 422, "invalid")
    assert "at least 32 octets" in answer.text
    assert "not 32 octets" not in answer.text
