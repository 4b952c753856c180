"""The advanced part of a tunnel's form."""

from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import Person, configure
from tests.web.forms import NEW, values

ADVANCED = {
    "when_down": "pass",
    "interface_id": "7",
    "interface": "office",
    "mark": "0x10/0xff",
    "mss": "1300",
    "rekey_octets": "1000000000",
    "offload": "crypto",
    "copy_dscp": "yes",
}


async def test_what_is_advanced_is_stored_shown_and_goes_back_to_nothing(person: Person) -> None:
    at = "child-0-"
    shown = values(await person.look("/tunnels/new"))
    assert (shown[at + "copy_df"], shown["mobike"], shown["fragment_octets"]) == ("yes", "yes", "")
    form = NEW | {key: shown[key] for key in shown if "advanced" in key} | {at + key: ADVANCED[key] for key in ADVANCED}
    await person.send("/tunnels/new", form | {"dscp": "46", "resumption": "yes"})
    peer = person.gateway.config.peer("branch")
    child = peer.children[0]
    assert (child.when_down, child.interface_id, child.interface, child.mark) == ("pass", 7, "office", "0x10/0xff")
    assert (child.mss, child.rekey_octets, child.offload, child.copy_dscp, child.copy_df) == (
        1300,
        10**9,
        "crypto",
        True,
        False,
    )
    assert (peer.dscp, peer.resumption, peer.mobike, peer.fragment_octets) == (46, True, False, 1280)
    page = await person.look("/tunnels/branch")
    assert (
        "tunnel mode, in the clear while down, through interface office, only packets marked 0x10/0xff" in page.source
    )
    form = values(await person.look("/tunnels/branch/settings")) | {"action": "save"}
    emptied = {at + key: "" for key in ("interface_id", "interface", "mark", "mss", "rekey_octets")}
    await person.send("/tunnels/branch/settings", form | emptied | {"fragment_octets": "", "dscp": ""})
    child = person.gateway.config.peer("branch").children[0]
    assert (child.interface_id, child.interface, child.mark, child.mss, child.rekey_octets) == (0, "", None, 0, 0)
    assert person.gateway.config.peer("branch").dscp == 0
    assert person.gateway.config.peer("branch").fragment_octets == 1280


async def test_mistakes_in_what_is_advanced_open_it(person: Person) -> None:
    at = "child-0-"
    wrong = {at + "advanced": "yes", "advanced": "yes", at + "mark": "0x1ff/0xff", at + "mss": "big", "dscp": "99"}
    wrong |= {at + "interface": "office", at + "idle_timeout": "60", at + "start": "always"}
    page = Page((await person.send("/tunnels/new", NEW | wrong, 422)).text)
    said = {
        element.attributes["id"].removesuffix("-error"): element.text.strip()
        for element in page.all("p")
        if element.attributes.get("id", "").endswith("-error")
    }
    assert said[at + "mss"] == "Write a whole number."
    assert "did you mean 0xff/0xff?" in said[at + "mark"]
    assert "an interface_id other than 0" in said[at + "interface"]
    assert "choose start on-demand" in said[at + "idle_timeout"]
    assert "less than or equal to 63" in said["dscp"]
    opened = [element for element in page.all("details") if "open" in element.attributes]
    assert len(opened) == 2


async def test_a_form_without_its_advanced_part_leaves_that_as_it_is(person: Person) -> None:
    await configure(person)
    await person.gateway.config.patch("peers", "branch", {"mobike": False, "dscp": 46}, LAB)
    await person.gateway.config.patch("children", "branch/net", {"when_down": "pass", "copy_df": False}, LAB)
    before = person.gateway.config.peer("branch")
    form = values(await person.look("/tunnels/branch/settings")) | {"action": "save"}
    bare = {key: text for key, text in form.items() if "advanced" not in key}
    await person.send("/tunnels/branch/settings", bare)
    assert person.gateway.config.peer("branch") == before
