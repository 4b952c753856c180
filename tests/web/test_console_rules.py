"""The pages of shunts, blocked sources and settings, as a person uses them without script."""

import time

from gateway.storage.fields import LATEST
from gateway.storage.rules import SettingsObject
from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import Person, configure
from tests.web.forms import values

SHUNT = {
    "name": "lan",
    "description": "ours",
    "action": "pass",
    "local_selectors": "10.1.0.0/24",
    "remote_selectors": "10.1.0.0/16, fd00::/64",
    "priority": "7",
}


def said(page: Page) -> dict[str, str]:
    """The mistakes beside their fields."""
    return {
        element.attributes["id"].removesuffix("-error"): element.text.strip()
        for element in page.all("p")
        if element.attributes.get("id", "").endswith("-error")
    }


async def test_a_shunt_is_made_changed_and_deleted(person: Person) -> None:
    config = person.gateway.config
    assert "No shunt is set up" in (await person.look("/rules")).source
    assert values(await person.look("/rules/shunts/new"))["priority"] == "100"
    await person.send("/rules/shunts/new", SHUNT)
    shunt = config.inventory.shunts["lan"]
    assert (shunt.action, shunt.priority, shunt.remote_selectors) == ("pass", 7, ("10.1.0.0/16", "fd00::/64"))
    assert said(Page((await person.send("/rules/shunts/new", SHUNT, 422)).text)) == {
        "name": "There is one of this name already."
    }
    listed = await person.look("/rules")
    assert "lets past in the clear" in listed.source
    form = values(await person.look("/rules/shunts/lan"))
    await person.send("/rules/shunts/lan", form | {"action": "drop", "priority": ""})
    assert (config.inventory.shunts["lan"].action, config.inventory.shunts["lan"].priority) == ("drop", 7)
    stale = await person.send("/rules/shunts/lan", form, 422)
    assert "Somebody changed this" in stale.text
    await person.send("/rules/shunts/lan", values(Page(stale.text)))
    assert config.inventory.shunts["lan"].action == "pass"
    assert "no longer let past" in (await person.look("/rules/shunts/lan/delete")).source
    await person.send("/rules/shunts/lan/delete", {})
    assert not config.inventory.shunts


async def test_a_shunt_s_mistakes_stand_beside_their_fields(person: Person) -> None:
    wrong = SHUNT | {"name": "No!", "local_selectors": "", "remote_selectors": "10.1.0.1/16", "priority": "first"}
    page = Page((await person.send("/rules/shunts/new", wrong, 422)).text)
    assert said(page).keys() == {"name", "local_selectors", "priority"}
    again = Page((await person.send("/rules/shunts/new", SHUNT | {"remote_selectors": "10.1.0.1/16"}, 422)).text)
    assert "did you mean 10.1.0.0/16?" in said(again)["remote_selectors"]
    assert values(again)["description"] == "ours"
    assert not person.gateway.config.inventory.shunts


async def test_a_source_is_blocked_and_let_in(person: Person) -> None:
    config = person.gateway.config
    await person.send("/rules/blocks", {"network": "198.51.100.7", "duration": "3600", "reason": "guesses"})
    block = config.inventory.blocks["198.51.100.7/32"]
    assert block.expires_at is not None
    assert 3590 < block.expires_at - time.time() <= 3601
    assert config.snapshot().blocked == ("198.51.100.7/32",)
    page = await person.look("/rules")
    assert "guesses" in page.source
    assert "in 59 min" in page.source
    await person.send("/rules/blocks", {"network": "198.51.100.7/32", "duration": "", "reason": "for good"})
    assert config.inventory.blocks["198.51.100.7/32"].expires_at is None
    wrong = Page((await person.send("/rules/blocks", {"network": "198.51.100.7/24", "duration": "86400"}, 422)).text)
    assert "did you mean 198.51.100.0/24?" in said(wrong)["network"]
    typed = [one.attributes["value"] for one in wrong.all("input") if one.attributes.get("id") == "network"]
    assert typed == ["198.51.100.7/24"]
    await person.send("/rules/blocks/delete", {"network": "198.51.100.7/32"})
    assert config.snapshot().blocked == ()
    for gone in ("198.51.100.7/32", "nonsense"):
        await person.send("/rules/blocks/delete", {"network": gone}, 404)


async def test_the_latest_time_can_be_shown(person: Person) -> None:
    latest = {"network": "198.51.100.7/32", "expires_at": LATEST}
    await person.gateway.config.apply({"apiVersion": "ikegate/v1", "blocks": [latest]}, LAB)
    assert "1 Jan 3000" in (await person.look("/rules")).source


async def test_a_block_that_would_cut_off_a_tunnel_is_refused(person: Person) -> None:
    await configure(person)
    await person.gateway.config.patch("peers", "branch", {"remote_addresses": ["192.0.2.17"]}, LAB)
    page = Page((await person.send("/rules/blocks", {"network": "192.0.2.0/24"}, 422)).text)
    assert "192.0.2.17 of peer 'branch'" in said(page)["network"]
    assert "over" in page.source  # the block whose time is past is still listed


async def test_settings_are_shown_and_saved(person: Person) -> None:
    config = person.gateway.config
    form = values(await person.look("/settings"))
    assert form["keepalive"] == "20"
    await person.send("/settings", form)
    assert config.inventory.settings == SettingsObject()
    changed = {"puzzles": "yes", "keepalive": "7,5", "retry_base": "", "redirect_to": "b.example"}
    await person.send("/settings", form | changed)
    assert config.inventory.settings == SettingsObject(puzzles=True, keepalive=7.5, redirect_to="b.example")
    assert "Somebody changed this" in (await person.send("/settings", form, 422)).text
    form = values(await person.look("/settings"))
    wrong = Page((await person.send("/settings", form | {"retry_limit": "1", "half_open_limit": "no"}, 422)).text)
    assert said(wrong)["half_open_limit"] == "Write a whole number."
    assert said(wrong)["retry_limit"].startswith("The wait begins at 2 s")
    await person.send("/settings", {key: text for key, text in form.items() if key != "puzzles"})
    assert not config.inventory.settings.puzzles
