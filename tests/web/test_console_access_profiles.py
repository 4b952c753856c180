"""Access profiles in the console, as a person uses it without script."""

from tests.web.console_markup import Page
from tests.web.console_person import Person
from tests.web.forms import NEW, values
from tests.web.test_console_people import POOL, USER
from tests.web.test_console_rules import said

PROFILE = {
    "name": "web",
    "groups": "staff",
    "tunnel": "split",
    "networks": "10.1.0.0/24\n10.2.0.80[tcp/443]",
    "masquerade": "yes",
    "dns": "10.1.0.53",
    "sessions": "2",
}


async def test_a_profile_is_made_given_changed_and_deleted(person: Person) -> None:
    config = person.gateway.config
    assert "No access profile is set up" in (await person.look("/access")).source
    await person.send("/access/profiles/new", PROFILE)
    made = config.inventory.access_profiles["web"]
    assert (made.networks, made.masquerade, made.sessions) == (("10.1.0.0/24", "10.2.0.80[tcp/443]"), True, 2)
    await person.send("/access/users/new", USER | {"addresses": ""})
    listed = await person.look("/access")
    assert "by the group staff" in listed.source and "split, masqueraded" in listed.source
    form = values(await person.look("/access/users/anna"))
    await person.send("/access/users/anna", form | {"access_profile": "web"})
    assert config.inventory.users["anna"].access_profile == "web"
    assert "his own" in (await person.look("/access/users/anna")).source
    assert "/access/users/anna" in (await person.look("/access/profiles/web")).source
    form = values(await person.look("/access/profiles/web"))
    await person.send("/access/profiles/web", {key: text for key, text in form.items() if key != "masquerade"})
    assert config.inventory.access_profiles["web"].masquerade is False
    kept = Page((await person.send("/access/profiles/web/delete", {"confirm": "web"}, 422)).text)
    assert "choose another for them first" in kept.source
    form = values(await person.look("/access/users/anna"))
    await person.send("/access/users/anna", form | {"access_profile": ""})
    await person.send("/access/profiles/web/delete", {"confirm": "web"})
    assert not config.inventory.access_profiles


async def test_a_change_shows_all_its_mistakes_at_once(person: Person) -> None:
    await person.send("/access/profiles/new", PROFILE)
    form = values(await person.look("/access/profiles/web"))
    wrong = Page((await person.send("/access/profiles/web", form | {"networks": "", "sessions": "-1"}, 422)).text)
    assert said(wrong).keys() == {"networks", "sessions"}
    assert person.gateway.config.inventory.access_profiles["web"].sessions == 2


async def test_mistakes_stand_under_their_fields(person: Person) -> None:
    wrong = Page((await person.send("/access/profiles/new", PROFILE | {"networks": "10.1.0.1/24"}, 422)).text)
    assert "10.1.0.0/24" in said(wrong)["networks"]
    wrong = Page((await person.send("/access/profiles/new", PROFILE | {"networks": ""}, 422)).text)
    assert "full tunnel" in said(wrong)["networks"]
    both = {"networks": "10.1.0.1/24", "sessions": "-1"}
    wrong = Page((await person.send("/access/profiles/new", PROFILE | both, 422)).text)
    assert said(wrong)["sessions"] == "Should be greater than or equal to 0."
    assert "10.1.0.0/24" in said(wrong)["networks"]
    wrong = Page((await person.send("/access/profiles/new", PROFILE | {"pools": "nowhere"}, 422)).text)
    assert "no pool 'nowhere'" in said(wrong)["pools"]
    wrong = Page((await person.send("/access/profiles/new", PROFILE | {"esp_proposals": "modern-ike"}, 422)).text)
    assert "is for ike, not for esp" in said(wrong)["esp_proposals"]


async def test_what_is_opened_is_said_when_a_profile_is_taken_away(person: Person) -> None:
    await person.send("/access/pools/new", POOL)
    calls = {"name": "people", "side": "calls", "address": "", "remote_id": "*@example.com", "advanced": "yes"}
    await person.send("/tunnels/new", NEW | calls | {"pools": "people", "child-0-remote": ""})
    await person.send("/access/profiles/new", PROFILE | {"networks": "10.1.0.0/28"})
    await person.send("/access/users/new", USER | {"groups": ""})
    form = values(await person.look("/access/users/anna"))
    await person.send("/access/users/anna", form | {"access_profile": "web"})
    form = values(await person.look("/access/users/anna"))
    await person.send("/access/users/anna", form | {"access_profile": ""})
    told = (await person.look("/access")).source
    assert "anna@example.com has no access profile any more (web until now), and reaches" in told
    deleting = (await person.look("/access/users/anna/delete")).source
    assert "is no user any more, but by a pre-shared key whoever proves to be that still comes in" in deleting
    form = values(await person.look("/access/users/anna"))
    await person.send("/access/users/anna", form | {"groups": "staff"})
    deleting = (await person.look("/access/profiles/web/delete")).source
    assert "anna@example.com has no access profile any more (web until now), and reaches" in deleting
