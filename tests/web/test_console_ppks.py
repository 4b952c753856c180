"""Post-quantum pre-shared keys, and what a tunnel says of them, as a person writes it without script."""

import base64

import pytest

from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import Person, configure
from tests.web.forms import NEW, values
from tests.web.test_console_rules import said

SECRET = "0x" + bytes(range(100, 132)).hex()
NAMED = {"advanced": "yes", "ppks": "this-year"}


async def made(person: Person, name: str = "this-year", **more: str) -> str:
    """A key as the page offers it; its secret."""
    form = values(await person.look("/ppks/new"))
    await person.send("/ppks/new", form | {"name": name, "identity": f"{name}.branch", "action": "save"} | more)
    return form["secret"]


async def test_a_key_is_made_shown_once_changed_and_deleted(person: Person) -> None:
    assert "No post-quantum pre-shared key is stored yet" in (await person.look("/credentials")).source
    secret = await made(person)
    config = person.gateway.config
    assert secret.startswith("0s") and len(base64.b64decode(secret[2:], validate=True)) == 32
    assert config.inventory.secrets["ppks", "this-year"] == base64.b64decode(secret[2:])
    assert "this-year.branch" in (await person.look("/credentials")).source
    for path in ("/credentials", "/ppks/this-year", "/ppks/this-year/delete", "/events"):
        assert secret not in (await person.look(path)).source

    shown = values(await person.look("/ppks/this-year"))
    assert (shown["identity"], shown["secret"]) == ("this-year.branch", "")
    await person.send("/ppks/this-year", shown | {"description": "until May", "action": "save"})
    assert config.inventory.ppks["this-year"].description == "until May"
    assert config.inventory.secrets["ppks", "this-year"] == base64.b64decode(secret[2:])

    shown = values(await person.look("/ppks/this-year"))
    page = Page((await person.send("/ppks/this-year", shown | {"action": "generate"}, 200)).text)
    assert values(page)["secret"] not in ("", secret)
    assert config.inventory.secrets["ppks", "this-year"] == base64.b64decode(secret[2:])
    await person.send("/ppks/this-year", values(page) | {"action": "save"})
    assert config.inventory.secrets["ppks", "this-year"] == base64.b64decode(values(page)["secret"][2:])
    await person.send("/ppks/this-year/delete", {})
    assert not config.inventory.ppks


async def test_mistakes_in_a_key_are_said_beside_their_fields(person: Person) -> None:
    await made(person)
    form = {"name": "other", "identity": "2027.branch", "secret": SECRET, "action": "save"}
    for change, field, text in (
        ({"secret": "not 32 octets"}, "secret", "at least 32 octets"),
        ({"secret": "0xzz"}, "secret", "hexadecimal"),
        ({"secret": ""}, "secret", "Write or paste the key"),
        ({"identity": ""}, "identity", "This is needed."),
        ({"identity": "has blanks"}, "identity", "has a sign that cannot stand here"),
        ({"identity": "this-year.branch"}, "identity", "'this-year' has this identity, too"),
        ({"name": "this-year"}, "name", "There is one of this name already."),
    ):
        page = Page((await person.send("/ppks/new", form | change, 422)).text)
        assert said(page).keys() == {field}, change
        assert text in said(page)[field]
    assert person.gateway.config.inventory.ppks.keys() == {"this-year"}


async def test_the_api_call_beside_the_form_has_no_secret(person: Person) -> None:
    page = await person.look("/ppks/new")
    call = next(element.text for element in page.all("pre") if element.attributes.get("id") == "api-call")
    assert "/api/v1/ppks/NAME" in call and '"secret": "…"' in call
    assert values(page)["secret"] not in call


async def test_a_tunnel_names_its_keys_insists_on_them_and_keeps_them(person: Person) -> None:
    await made(person)
    await made(person, "next-year")
    named = NEW | NAMED | {"ppks": "next-year, this-year", "ppk_required": "yes", "ppk_exchange": "intermediate"}
    await person.send("/tunnels/new", named | {"redirect_to": "gw2.example.net"})
    peer = person.gateway.config.peer("branch")
    assert (peer.ppks, peer.ppk_required, peer.ppk_exchange) == (("next-year", "this-year"), True, "intermediate")
    assert peer.redirect_to == "gw2.example.net"
    assert "Used by" in (await person.look("/ppks/this-year")).source
    users = [one.attributes["href"] for one in (await person.look("/credentials")).all("a") if one.text == "branch"]
    assert users.count("/tunnels/branch") >= 2
    kept = Page((await person.send("/ppks/this-year/delete", {}, 422)).text)
    assert "take it out of them first" in kept.source
    assert "this-year" in person.gateway.config.inventory.ppks

    shown = values(await person.look("/tunnels/branch/settings"))
    names = ("ppks", "ppk_required", "ppk_exchange", "redirect_to")
    told = ("next-year, this-year", "yes", "intermediate", "gw2.example.net")
    assert tuple(shown[name] for name in names) == told
    gone = {key: text for key, text in shown.items() if key != "ppk_required"}
    empty = {"ppks": "", "ppk_exchange": "either", "redirect_to": "", "action": "save"}
    await person.send("/tunnels/branch/settings", gone | empty)
    peer = person.gateway.config.peer("branch")
    assert (peer.ppks, peer.ppk_required, peer.ppk_exchange, peer.redirect_to) == ((), False, "either", "")
    await person.send("/ppks/this-year/delete", {})


async def test_a_form_without_its_advanced_part_keeps_keys_and_redirect(person: Person) -> None:
    await configure(person)
    await made(person)
    shown = values(await person.look("/tunnels/branch/settings"))
    changed = {"ppks": "this-year", "ppk_required": "yes", "redirect_to": "192.0.2.7", "action": "save"}
    await person.send("/tunnels/branch/settings", shown | changed)
    before = person.gateway.config.peer("branch")
    assert (before.ppks, before.redirect_to) == (("this-year",), "192.0.2.7")
    form = values(await person.look("/tunnels/branch/settings")) | {"action": "save", "description": "new"}
    bare = {key: text for key, text in form.items() if key not in ("advanced", *changed)} | {"action": "save"}
    await person.send("/tunnels/branch/settings", bare)
    after = person.gateway.config.peer("branch")
    assert (after.description, after.ppks, after.ppk_required) == ("new", before.ppks, True)
    assert after.redirect_to == "192.0.2.7"


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"ppks": "nowhere"}, "ppks", "There is no post-quantum pre-shared key 'nowhere'."),
        ({"ppks": "", "ppk_required": "yes"}, "ppk_required", "Name the keys of which one is required, in ppks."),
        ({"redirect_to": "192.0.2.0/24"}, "redirect_to", "is a network; peers are sent to one address or DNS name"),
        ({"redirect_to": "no name"}, "redirect_to", "no name"),
    ],
)
async def test_mistakes_in_a_tunnel_are_those_of_the_api_and_open_the_part(
    person: Person, change: dict[str, str], field: str, text: str
) -> None:
    await made(person)
    page = Page((await person.send("/tunnels/new", NEW | NAMED | change, 422)).text)
    assert said(page).keys() == {field}
    assert text in said(page)[field]
    assert len([one for one in page.all("details") if "open" in one.attributes]) == 1
    assert not person.gateway.config.inventory.peers


async def test_what_is_wrong_with_keys_is_said_beside_all_else(person: Person) -> None:
    wrong = NAMED | {"ppks": "nowhere", "dscp": "99", "redirect_to": "192.0.2.0/24"}
    page = Page((await person.send("/tunnels/new", NEW | wrong, 422)).text)
    assert said(page).keys() == {"ppks", "dscp", "redirect_to"}


async def test_a_key_goes_with_eap(person: Person) -> None:
    await configure(person)
    await made(person)
    child = {"name": "net", "local_selectors": ["10.8.0.0/16"], "remote_selectors": ["10.9.0.0/16"]}
    rounds = {"remote_auth": [{"method": "eap", "eap_methods": ["mschapv2"]}]}
    peer = {"name": "people", "remote_id": "%any", "local_id": "gw.example", "children": [child], **rounds}
    document = {"apiVersion": "ikegate/v1", "peers": [peer]}
    await person.gateway.config.apply(document, LAB)
    shown = values(await person.look("/tunnels/people/settings"))
    await person.send("/tunnels/people/settings", shown | NAMED | {"action": "save"})
    assert person.gateway.config.peer("people").ppks == ("this-year",)
