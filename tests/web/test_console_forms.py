"""Forms: what is typed is stored, what is wrong is said beside the field and nothing typed is lost."""

import pytest

from gateway.policy.changes import Changes
from gateway.policy.peers import Shunt, ShuntAction
from gateway.policy.selectors import Selector
from gateway.storage.objects import FieldError
from gateway.storage.peers import ChildObject, PeerObject
from tests.web.console_lab import LAB, SECRET
from tests.web.console_markup import Page
from tests.web.console_person import PASSPHRASE, Person, configure
from tests.web.forms import NEW, ODD_CHILD, values
from web.console.forms import tunnel
from web.console.forms.fields import entries, impact, place, remark_on

LAN = Shunt("lan", ShuntAction.PASS, (Selector.parse("10.1.0.0/24"),), (Selector.parse("10.1.0.0/16"),))


async def test_a_new_tunnel_is_stored_with_its_key_in_one_revision(person: Person) -> None:
    config = person.gateway.config
    before = config.revision
    answer = await person.send("/tunnels/new", NEW)
    assert answer.headers["location"] == "/tunnels/branch"
    assert config.revision == before + 1
    peer, psk = config.peer("branch"), config.inventory.psks["branch"]
    assert peer.remote_addresses == ("192.0.2.17",)
    assert peer.remote_id == "192.0.2.17"  # who says nothing of its identity is named by its address
    assert peer.children[0].remote_selectors == ("10.2.0.0/16", "10.3.0.0/24[tcp/443]")
    assert psk.remote_ids == ("192.0.2.17",)
    assert psk.local_ids == ("gw.example",)
    assert config.inventory.secrets["psks", "branch"] == SECRET.encode()
    assert SECRET not in (await person.look("/psks/branch")).source


async def test_all_mistakes_are_said_beside_their_fields_and_nothing_typed_is_lost(person: Person) -> None:
    wrong = NEW | {
        "name": "Branch!",
        "address": "192.0.2.999",
        "local_id": "not a name",
        "child-0-local": "10.1.0.1/16",
        "child-0-remote": "",
        "secret": "",
        "dpd_delay": "soon",
    }
    before = person.gateway.config.revision
    page = Page((await person.send("/tunnels/new", wrong, 422)).text)
    said = {
        element.attributes["id"].removesuffix("-error"): element.text.strip()
        for element in page.all("p")
        if element.attributes.get("id", "").endswith("-error")
    }
    assert said["name"].startswith("Use 1 to 63 of a-z")
    assert "192.0.2.999" in said["address"]
    assert "no domain name" in said["local_id"]
    assert "did you mean 10.1.0.0/16?" in said["child-0-local"]
    assert said["child-0-remote"] == "Name at least one."
    assert said["secret"].startswith("Write or paste the key")
    assert said["dpd_delay"] == "Write a number."
    assert "7 things need your attention" in page.all("main")[0].text
    linked = {
        element.attributes["href"].removeprefix("#")
        for element in page.all("a")
        if element.attributes["href"].startswith("#") and element.parent and element.parent.name == "li"
    }
    assert linked == said.keys()
    kept = values(page)
    for name, text in wrong.items():
        if name != "action":
            assert kept[name] == text, name
    assert person.gateway.config.revision == before


async def test_a_name_that_is_taken_is_refused(person: Person) -> None:
    await configure(person)
    page = Page((await person.send("/tunnels/new", NEW, 422)).text)
    assert "There is a tunnel of this name already." in page.source
    assert person.gateway.config.peer("branch").remote_id == "branch.example"


async def test_a_stored_key_serves_a_new_tunnel_and_keeps_its_secret(person: Person) -> None:
    await configure(person)
    form = NEW | {"name": "second", "key": "stored", "psk": "branch", "secret": ""}
    await person.send("/tunnels/new", form)
    inventory = person.gateway.config.inventory
    assert inventory.psks["branch"].remote_ids == ("branch.example", "192.0.2.17")
    assert inventory.secrets["psks", "branch"] == SECRET.encode()
    assert inventory.psks.keys() == {"branch"}


async def test_blocks_of_networks_come_and_go_without_saving(person: Person) -> None:
    revision = person.gateway.config.revision
    page = Page((await person.send("/tunnels/new", NEW | {"action": "add"}, 200)).text)
    more = values(page)
    assert more["child-1-name"] == "net2"
    assert more["child-0-remote"] == NEW["child-0-remote"]
    fewer = values(Page((await person.send("/tunnels/new", more | {"action": "drop-0"}, 200)).text))
    assert "child-0-local" not in fewer
    assert "child-1-local" in fewer
    assert person.gateway.config.revision == revision


async def test_settings_come_back_as_they_are_and_saving_them_changes_nothing(person: Person) -> None:
    await configure(person)
    before = person.gateway.config.peer("branch")
    form = values(await person.look("/tunnels/branch/settings")) | {"action": "save"}
    await person.send("/tunnels/branch/settings", form)
    assert person.gateway.config.peer("branch") == before


async def test_settings_are_changed_and_children_renamed_keep_what_the_form_does_not_show(person: Person) -> None:
    await configure(person)
    hidden = {"replay_window": 64, "description": "kept"}
    await person.gateway.config.patch("children", "branch/net", hidden, LAB)
    form = values(await person.look("/tunnels/branch/settings"))
    changed = {"child-0-name": "lan", "rekey_time": "7200", "child_rekey_time": "900,5", "tries": "3", "action": "save"}
    await person.send(
        "/tunnels/branch/settings", {key: text for key, text in (form | changed).items() if key != "enabled"}
    )
    peer = person.gateway.config.peer("branch")
    assert not peer.enabled
    assert (peer.rekey_time, peer.retransmit.tries) == (7200, 3)
    child = peer.children[0]
    assert (child.name, child.rekey_time, child.replay_window, child.description) == ("lan", 900.5, 64, "kept")


async def test_a_dry_run_tells_and_stores_nothing(person: Person) -> None:
    await configure(person)
    before = person.gateway.config.peer("branch")
    form = values(await person.look("/tunnels/branch/settings"))
    told = await person.send("/tunnels/branch/settings", form | {"action": "try", "child-0-local": "10.1.0.0/24"}, 200)
    assert "negotiate the networks net of branch anew" in told.text
    told = await person.send("/tunnels/branch/settings", form | {"action": "try", "description": "new"}, 200)
    assert "touch no session" in told.text
    assert person.gateway.config.peer("branch") == before


async def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(person: Person) -> None:
    await configure(person)
    form = values(await person.look("/tunnels/branch/settings")) | {"action": "save"}
    await person.send("/tunnels/branch/settings", form | {"description": "first"})
    answer = await person.send("/tunnels/branch/settings", form | {"description": "second"}, 422)
    assert "Somebody changed this" in answer.text
    assert person.gateway.config.peer("branch").description == "first"
    again = values(Page(answer.text)) | {"action": "save"}
    assert again["description"] == "second"
    await person.send("/tunnels/branch/settings", again)
    assert person.gateway.config.peer("branch").description == "second"


async def test_a_tunnel_is_deleted_with_its_own_key_when_asked(person: Person) -> None:
    await configure(person)
    await person.send("/tunnels/branch/delete", {"with_key": "yes"})
    assert not person.gateway.config.inventory.peers
    assert not person.gateway.config.inventory.psks


async def test_keys_are_made_replaced_and_deleted(person: Person) -> None:
    form = values(await person.look("/psks/new"))
    assert len(form["secret"]) == 43
    made = form | {"name": "shared", "remote_ids": "CN=sun, O=Lab\n*.example", "action": "save"}
    await person.send("/psks/new", made)
    inventory = person.gateway.config.inventory
    assert inventory.psks["shared"].remote_ids == ("CN=sun, O=Lab", "*.example")
    assert inventory.secrets["psks", "shared"] == form["secret"].encode()
    assert "There is one of this name already." in (await person.send("/psks/new", made, 422)).text

    shown = values(await person.look("/psks/shared"))
    assert shown["secret"] == ""
    await person.send("/psks/shared", shown | {"description": "for all", "action": "save"})
    assert person.gateway.config.inventory.secrets["psks", "shared"] == form["secret"].encode()
    shown = values(await person.look("/psks/shared"))
    generated = values(Page((await person.send("/psks/shared", shown | {"action": "generate"}, 200)).text))
    assert len(generated["secret"]) == 43
    await person.send("/psks/shared", generated | {"action": "save"})
    assert person.gateway.config.inventory.secrets["psks", "shared"] == generated["secret"].encode()

    wrong = Page(
        (await person.send("/psks/shared", values(await person.look("/psks/shared")) | {"secret": "0xzz"}, 422)).text
    )
    assert "after 0x comes hexadecimal" in wrong.source.lower()
    await person.send("/psks/shared/delete", {})
    assert not person.gateway.config.inventory.psks


async def test_a_key_in_use_goes_only_when_its_name_is_typed(person: Person) -> None:
    await configure(person)
    assert "Type branch exactly" in (await person.send("/psks/branch/delete", {"confirm": "brunch"}, 422)).text
    await person.send("/psks/branch/delete", {"confirm": "branch"})
    assert not person.gateway.config.inventory.psks


async def test_proposals_are_typed_picked_and_kept_while_in_use(person: Person) -> None:
    form = values(await person.look("/proposals/new"))
    wrong = await person.send(
        "/proposals/new", form | {"name": "mine", "suites": "aes256-x25519", "action": "save"}, 422
    )
    assert "needs an integrity algorithm" in wrong.text
    nothing = await person.send("/proposals/new", form | {"action": "add"}, 422)
    assert "Pick at least" in nothing.text
    answer = await person.client.post(
        "/proposals/new", data={"protocol": "ike", "action": "add", "pick": ["aes256gcm16", "prfsha256", "x25519"]}
    )
    picked = values(Page(answer.text))
    assert picked["suites"].strip() == "aes256gcm16-prfsha256-x25519"
    await person.send("/proposals/new", picked | {"name": "mine", "action": "save"})
    assert person.gateway.config.inventory.proposals["mine"].suites == ("aes256gcm16-prfsha256-x25519",)
    await configure(person)
    refused = await person.send("/proposals/modern-pq-ike/delete", {}, 422)
    assert "in use" in refused.text
    await person.send("/proposals/mine/delete", {})
    assert "mine" not in person.gateway.config.inventory.proposals


async def test_a_token_is_shown_once_works_and_is_deleted(person: Person) -> None:
    form = values(await person.look("/account")) | {"what": "token"}
    assert {name for name in form if name.startswith("scope-")} == {"scope-config:read", "scope-state:read"}
    wrong = await person.send("/account", form | {"token_name": "My token", "days": "999"}, 422)
    assert "a year at most" in wrong.text
    made = await person.send("/account", form | {"token_name": "ansible", "days": "7"}, 200)
    text = next(element.text for element in Page(made.text).all("pre") if element.attributes.get("id") == "made")
    bearer = {"authorization": f"Bearer {text}"}
    assert (await person.client.get("/api/v1/status", headers=bearer)).status_code == 200
    assert (await person.client.put("/api/v1/psks/x", headers=bearer, json={})).status_code == 403
    again = await person.look("/account")
    assert text not in again.source
    assert "ansible" in again.source
    token = person.gateway.config.access.tokens()[0]
    await person.send(f"/account/tokens/{token.id}/delete", {})
    assert (await person.client.get("/api/v1/status", headers=bearer)).status_code == 401
    await person.send(f"/account/tokens/{token.id}/delete", {}, 404)


async def test_changing_the_passphrase_signs_out_everywhere(person: Person) -> None:
    new = "velvet anchor meadow"
    form = {"what": "passphrase", "old": PASSPHRASE, "password": new, "again": new}
    assert "not your present" in (await person.send("/account", form | {"old": "wrong"}, 422)).text
    assert "differ" in (await person.send("/account", form | {"again": "other"}, 422)).text
    short = await person.send("/account", form | {"password": "short", "again": "short"}, 422)
    assert "12" in short.text
    assert (await person.send("/account", form)).headers["location"] == "/login"
    assert (await person.get("/")).headers["location"].startswith("/login")
    await person.send("/login", {"name": "anna", "password": PASSPHRASE}, 401)
    await person.send("/login", {"name": "anna", "password": new})


@pytest.mark.parametrize(
    ("changes", "done", "text"),
    [
        (Changes(shunts_added=(LAN,)), True, "With that, lan is in force."),
        (Changes(shunts_removed=(LAN,), blocked_added=("192.0.2.0/24",)), False, "end lan, block 192.0.2.0/24."),
        (Changes(blocked_removed=("a", "b")), False, "let a and b in again."),
        (Changes(), False, "touch no session."),
        (Changes(added=("a",)), True, "With that, a starts."),
        (Changes(removed=("a",), renegotiate=("b", "c")), False, "end a, drop b and c and negotiate it anew."),
        (Changes(children={"a": ("net",)}), True, "With that, the networks net of a are negotiated anew."),
    ],
)
def test_the_impact_of_a_change_is_told(changes: Changes, done: bool, text: str) -> None:
    assert impact(changes, done=done) == text


def test_a_mistake_without_a_field_goes_on_top() -> None:
    placed = place(
        [FieldError("/a/b", "x", "is odd"), FieldError("/name", "missing", "Field required")], [("/name", "name")]
    )
    assert placed == {"": "a/b: Is odd.", "name": "This is needed."}


def test_entries_may_stand_on_lines_or_between_commas() -> None:
    assert entries(" 10.0.0.0/8,\n fd00::/8\t10.1.0.0/16[tcp/443] ;") == [
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.0.0/16[tcp/443]",
    ]


def test_short_keys_are_remarked_on() -> None:
    assert "short" in remark_on("hunter2")
    assert "short" in remark_on("a" * 40)
    assert remark_on(SECRET) == ""
    assert remark_on("") == ""


def test_the_form_of_a_peer_reads_back_as_the_peer() -> None:
    children = tuple(
        ChildObject(
            name=name, local_selectors=("10.1.0.0/16",), remote_selectors=("10.2.0.0/16",), rekey_time=rekey_time
        )
        for name, rekey_time in (("a", 600.0), ("b", 1200.5))
    )
    children += (ODD_CHILD,)
    peer = PeerObject(
        name="p",
        remote_id="%any",
        children=children,
        ike_proposals=("modern-ike", "compatible-ike"),
        reauth_time=86_400,
        mobike=False,
        fragment_octets=0,
        childless=True,
        redirect=False,
        resumption=False,
        dscp=46,
    )
    typed = tunnel.typed_of(peer)
    assert typed["child_rekey_time"] == ""  # they differ: each keeps its own
    errors: dict[str, str] = {}
    assert PeerObject.model_validate(tunnel.document_of(typed, peer, errors)) == peer
    assert errors == {}
