"""The pages of remote access, as a person uses them without script."""

import base64

from gateway.ike.path import Path as IkePath
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.identities import Identity
from tests.web.console_markup import Page
from tests.web.console_person import Person
from tests.web.forms import NEW, values
from tests.web.test_console_rules import said
from web.qr import qr_code

POOL = {
    "name": "people",
    "networks": "10.9.0.0/29\nfd00:9::/64",
    "dns": "10.1.0.53",
    "domains": "corp.example",
    "reservations": "10.9.0.5 boss@example.com",
}
USER = {
    "name": "anna",
    "login": "anna@example.com",
    "password": "her secret words",
    "enabled": "yes",
    "expires_at": "2030-01-31",
    "addresses": "10.9.0.3",
    "groups": "staff, lab",
    "sessions": "2",
}


async def test_a_pool_and_a_user_are_made_changed_and_deleted(person: Person) -> None:
    config = person.gateway.config
    empty = await person.look("/access")
    assert "No user is known yet" in empty.source and "No pool is set up" in empty.source
    await person.send("/access/pools/new", POOL)
    assert config.inventory.pools["people"].reservations[0].address == "10.9.0.5"
    await person.send("/access/users/new", USER)
    user = config.inventory.users["anna"]
    assert (user.groups, user.sessions, user.expires_at) == (("staff", "lab"), 2, 1_896_134_399.0)
    listed = await person.look("/access")
    assert "anna@example.com" in listed.source and "IPv4: 0 of 6" in listed.source
    assert "her secret words" not in listed.source
    form = values(await person.look("/access/users/anna"))
    assert "her secret words" not in str(form)
    await person.send("/access/users/anna", {key: text for key, text in form.items() if key != "enabled"})
    assert config.inventory.users["anna"].enabled is False
    assert config.inventory.secrets["users", "anna"] == b"her secret words"
    assert config.inventory.users["anna"].expires_at == 1_896_134_399.0
    assert "Disabled" in (await person.look("/access")).source
    changed = values(await person.look("/access/pools/people")) | {"dns": "10.1.0.54"}
    await person.send("/access/pools/people", changed)
    assert config.inventory.pools["people"].dns == ("10.1.0.54",)
    await person.look("/access/users/anna/delete")
    await person.send("/access/users/anna/delete", {})
    await person.send("/access/pools/people/delete", {})
    assert not config.inventory.users and not config.inventory.pools


async def test_mistakes_are_said_beside_their_fields(person: Person) -> None:
    wrong = Page((await person.send("/access/pools/new", POOL | {"reservations": "10.9.0.5"}, 422)).text)
    assert "whose it is" in said(wrong)["reservations"]
    wrong = Page((await person.send("/access/pools/new", POOL | {"networks": "10.9.0.1/24"}, 422)).text)
    assert "did you mean 10.9.0.0/24?" in said(wrong)["networks"]
    wrong = Page((await person.send("/access/users/new", USER, 422)).text)
    assert said(wrong) == {"addresses": "10.9.0.3 is in no pool."}
    wrong = Page((await person.send("/access/users/new", USER | {"addresses": "", "expires_at": "soon"}, 422)).text)
    assert said(wrong) == {"expires_at": "Write a day such as 2027-01-31."}
    assert "her secret words" not in wrong.source


async def test_a_tunnel_gives_addresses_of_a_pool_to_a_group(person: Person) -> None:
    await person.send("/access/pools/new", POOL)
    form = NEW | {
        "name": "people",
        "side": "calls",
        "address": "",
        "remote_id": "*@example.com",
        "advanced": "yes",
        "pools": "people",
        "child-0-remote": "",
        "child-0-advanced": "yes",
        "child-0-groups": "staff, lab",
    }
    lacking = Page((await person.send("/tunnels/new", form | {"pools": ""}, 422)).text)
    assert said(lacking) == {"child-0-remote": "Name at least one."}
    unknown = Page((await person.send("/tunnels/new", form | {"pools": "nowhere"}, 422)).text)
    assert "no pool 'nowhere'" in said(unknown)["pools"]
    await person.send("/tunnels/new", form)
    peer = person.gateway.config.inventory.peers["people"]
    assert (peer.pools, peer.virtual_ip) == (("people",), False)
    assert (peer.children[0].remote_selectors, peer.children[0].groups) == ((), ("staff", "lab"))
    shown = values(await person.look("/tunnels/people/settings"))
    assert (shown["pools"], shown["child-0-groups"]) == ("people", "staff, lab")
    assert "people" in (await person.look("/access/pools/people")).source
    kept = Page((await person.send("/access/pools/people/delete", {}, 422)).text)
    assert "give them another pool first" in kept.source


async def test_a_pool_that_holds_a_users_own_address_stays_and_its_page_says_why(person: Person) -> None:
    await person.send("/access/pools/new", POOL)
    await person.send("/access/users/new", USER)
    assert "10.9.0.3 is in no pool." in (await person.look("/access/pools/people/delete")).source
    kept = Page((await person.send("/access/pools/people/delete", {"confirm": "people"}, 422)).text)
    assert "10.9.0.3 is in no pool." in kept.source
    assert "people" in person.gateway.config.inventory.pools


async def test_who_is_on_the_way_out_is_not_connected(person: Person) -> None:
    await person.send("/access/users/new", USER | {"addresses": ""})
    core = person.gateway._engine.core
    path = IkePath("127.0.0.1", "192.0.2.9")
    sa = IkeSa(core.number("ike-sa"), False, path, core.now, bytes(8), b"ours" * 2, state=Lifecycle.DELETING)
    sa.remote_id = Identity.parse(USER["login"])
    core.sas[sa.spi_r] = sa
    (one,) = person.gateway.status().ike_sas
    assert one.user == USER["login"]
    assert "Not connected" in (await person.look("/access")).source
    del core.sas[sa.spi_r]


async def test_one_time_codes_are_given_shown_once_and_taken(person: Person) -> None:
    config = person.gateway.config
    await person.send("/access/users/new", USER | {"addresses": ""})
    assert "Give him one-time codes" in (await person.look("/access/users/anna")).source
    shown = await person.send("/access/users/anna/totp", {}, 200)
    secret = config.snapshot().users["anna@example.com"].totp_secret
    typed = base64.b32encode(secret).decode()
    assert typed in shown.text
    assert f":anna@example.com?secret={typed}" in shown.text
    drawn = Page(shown.text)
    (path,) = [one.attributes["d"] for one in drawn.all("path") if one.attributes.get("fill") == "#000"]
    (uri,) = [one.text for one in drawn.all("dd") if one.attributes.get("id") == "uri"]
    assert path == qr_code(uri).path
    assert shown.headers["cache-control"] == "no-store"
    page = await person.look("/access/users/anna")
    assert "Make another secret" in page.source
    assert typed not in page.source and path not in page.source
    await person.send("/access/users/anna/totp/delete", {})
    assert config.snapshot().users["anna@example.com"].totp_secret == b""
    assert "Give him one-time codes" in (await person.look("/access/users/anna")).source
