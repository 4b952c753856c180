"""Policies, demands and the report on post-quantum keys, as a person uses them without script."""

from tests.web.console_person import Person, configure
from tests.web.forms import NEW, values


async def test_a_policy_is_one_choice_and_says_what_it_offers(person: Person) -> None:
    page = await person.look("/tunnels/new")
    for label in ("Modern PQ: x25519 or another curve with ML-KEM-768", "Modern: Elliptic curves without ML-KEM"):
        assert label in page.source
    assert values(page)["policy"] == "modern-pq"
    await person.send("/tunnels/new", {**NEW, "policy": "compatible"})
    peer = person.gateway.config.peer(NEW["name"])
    assert (peer.ike_proposals, peer.children[0].esp_proposals) == (("compatible-ike",), ("compatible-esp",))
    at = f"/tunnels/{NEW['name']}/settings"
    shown = values(await person.look(at))
    assert (shown["policy"], shown["post_quantum"]) == ("compatible", "default")
    custom = {"policy": "custom", "ike": "modern-ike", "esp": "compatible-esp", "action": "save"}
    await person.send(at, shown | custom)
    assert person.gateway.config.peer(NEW["name"]).ike_proposals == ("modern-ike",)
    assert values(await person.look(at))["policy"] == "custom"


async def test_a_demand_is_made_with_a_day_and_reported(person: Person) -> None:
    await configure(person)
    name = next(iter(person.gateway.config.inventory.peers))
    at = f"/tunnels/{name}/settings"
    shown = values(await person.look(at))
    wrong = await person.send(
        at, shown | {"post_quantum": "require", "post_quantum_from": "soon", "action": "save"}, 422
    )
    assert "Write a day such as 2027-01-31." in wrong.text
    await person.send(at, shown | {"post_quantum": "require", "post_quantum_from": "2999-01-31", "action": "save"})
    peer = person.gateway.config.peer(name)
    assert (peer.post_quantum, peer.post_quantum_from) == ("require", 32_474_736_000.0)
    assert values(await person.look(at))["post_quantum_from"] == "2999-01-31"
    page = (await person.look("/post-quantum")).source
    assert name in page and "required from" in page and "not seen yet" in page
    assert "not seen yet. None would be refused if such keys were required today." in page
    assert "/post-quantum" in (await person.look("/")).source
    await person.send(at, values(await person.look(at)) | {"policy": "modern", "post_quantum": "off", "action": "save"})
    assert person.gateway.config.peer(name).post_quantum_from is None
    page = (await person.look("/post-quantum")).source
    assert "would be refused" in page and "Our proposals for it have no ML-KEM, and it has no PPK." in page


async def test_the_settings_demand_of_all(person: Person) -> None:
    shown = values(await person.look("/settings"))
    assert (shown["post_quantum"], shown["post_quantum_from"]) == ("prefer", "")
    await person.send("/settings", shown | {"post_quantum": "require", "post_quantum_from": "2999-01-31"})
    settings = person.gateway.config.inventory.settings
    assert (settings.post_quantum, settings.post_quantum_from) == ("require", 32_474_736_000.0)
