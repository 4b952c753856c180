"""Every page of a real gateway: well made, complete without script, and deaf to markup that a peer sends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web import console_samples as samples
from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import PASSPHRASE, Person, configure, setup, visiting
from web.console.render import NOTICE_COOKIE, html
from web.console.views.attempts import attempt_page, attempt_rows
from web.console.views.overview import overview
from web.console.views.sessions import sessions
from web.console.views.tunnels import FILTERS, outage_rows, tunnel, tunnel_rows
from web.security import SESSION_COOKIE

SIGNED_IN_PAGES = (
    "/",
    "/tunnels",
    "/tunnels?q=nothing-fits",
    "/tunnels/new",
    "/tunnels/branch",
    "/tunnels/branch/history",
    "/tunnels/branch/settings",
    "/tunnels/branch/delete",
    "/sessions",
    "/attempts",
    "/events",
    "/psks",
    "/psks/new",
    "/psks/branch",
    "/psks/branch/delete",
    "/ppks/new",
    "/ppks/branch",
    "/ppks/branch/delete",
    "/proposals",
    "/proposals/new",
    "/proposals/modern-pq-ike",
    "/post-quantum",
    "/proposals/modern-pq-ike/delete",
    "/proposals/compatible-esp/delete",
    "/account",
    "/rules",
    "/rules/shunts/new",
    "/rules/shunts/branch",
    "/rules/shunts/branch/delete",
    "/settings",
    "/access",
    "/access/users/new",
    "/access/users/branch",
    "/access/users/branch/delete",
    "/access/pools/new",
    "/access/pools/branch",
    "/access/pools/branch/delete",
    "/access/profiles/new",
    "/access/profiles/branch",
    "/access/profiles/branch/delete",
    "/access/radius/new",
    "/access/radius/branch",
    "/access/radius/branch/delete",
    "/credentials",
    "/certificates/new",
    "/certificates/branch-own",
    "/certificates/branch-own/delete",
    "/authorities/new",
    "/authorities/branch-ca",
    "/authorities/branch-ca/delete",
)


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    async with visiting(tmp_path) as found:
        yield found


async def test_before_setup_every_page_leads_to_it(person: Person) -> None:
    for path in ("/", "/tunnels", "/events/stream"):
        assert (await person.get(path)).headers["location"] == "/setup"
    page = await person.look("/setup")
    assert "token" in {element.attributes.get("name") for element in page.all("input")}


async def test_setup_keeps_what_was_typed_and_says_what_is_wrong(person: Person) -> None:
    wrong = {"token": "nonsense", "name": "anna", "password": PASSPHRASE, "again": PASSPHRASE}
    assert "setup token" in (await person.send("/setup", wrong, 422)).text
    page = Page((await person.send("/setup", {**wrong, "again": "other"}, 422)).text)
    assert "The two passphrases differ." in page.source
    assert PASSPHRASE not in page.source
    assert {"anna", "nonsense"} <= {element.attributes.get("value") for element in page.all("input")}
    assert person.gateway.config.access.setup_needed


async def test_signing_in_leads_to_the_page_that_was_asked_for_and_nowhere_else(person: Person) -> None:
    await setup(person)
    await person.send("/logout", {})
    assert (await person.get("/events?q=x")).headers["location"] == "/login?next=/events%3Fq%3Dx"
    form = {"name": "anna", "password": PASSPHRASE}
    for target, location in (
        ("/events?q=x", "/events?q=x"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x=y", "/"),
    ):
        answer = await person.send("/login", {**form, "next": target})
        assert answer.headers["location"] == location, target
    refused = await person.send("/login", {**form, "password": "wrong"}, 401)
    assert "is wrong" in refused.text


async def test_every_page_is_well_made(person: Person) -> None:
    await setup(person)
    for configured in (False, True):
        if configured:
            await configure(person)
        for path in SIGNED_IN_PAGES:
            if configured or "branch" not in path:
                await person.look(path)


async def test_a_long_list_comes_in_pages_of_a_hundred(person: Person) -> None:
    await setup(person)
    peers = [{"name": f"p{number:03}", "remote_id": f"p{number}.example"} for number in range(130)]
    await person.gateway.config.apply({"apiVersion": "ikegate/v1", "peers": peers}, LAB)
    first, second = await person.look("/tunnels?q=p"), await person.look("/tunnels?q=p&page=2")
    names = [
        [one.text.strip() for one in page.all("th") if one.attributes["scope"] == "row"] for page in (first, second)
    ]
    assert [len(found) for found in names] == [100, 30]
    assert sorted(names[0] + names[1]) == [f"p{number:03}" for number in range(130)]
    assert "/tunnels?page=2&q=p&state=" in {"/tunnels" + one.attributes["href"] for one in first.all("a")}
    await person.look("/tunnels?page=99")
    await person.look("/tunnels?page=x", 404)


async def test_what_is_not_there_is_a_page_that_says_so(person: Person) -> None:
    await setup(person)
    for path in (
        "/nowhere",
        "/tunnels/nobody",
        "/tunnels/nobody/settings",
        "/attempts/99",
        "/attempts/x",
        "/psks/no",
        "/ppks/no",
        "/access/radius/no",
        "/rules/shunts/no",
    ):
        page = await person.look(path, 404)
        assert page.all("a")
    assert (await person.client.post("/tunnels/nobody/connect")).status_code == 404
    assert (await person.client.post("/tunnels/nobody/explode")).status_code == 404
    api = await person.get("/api/v1/nowhere")
    assert api.headers["content-type"] == "application/problem+json"


async def test_what_breaks_is_a_page_with_a_request_id(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    await setup(person)
    monkeypatch.setattr(person.gateway, "status", lambda: 1 / 0)
    answer = await person.get("/")
    assert answer.status_code == 500
    assert Page(answer.text).faults == []
    assert answer.headers["x-request-id"] in answer.text
    assert "ZeroDivision" not in answer.text


async def test_another_site_cannot_make_a_browser_change_anything(person: Person) -> None:
    await setup(person)
    await configure(person)
    answer = await person.client.post("/tunnels/branch/delete", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    await person.look("/tunnels/branch")


async def test_a_page_that_refreshes_itself_does_not_keep_a_session_alive(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setup(person)
    access = person.gateway.config.access
    now = access._clock()
    monkeypatch.setattr(access, "_clock", lambda: now + 20 * 60)
    await person.look("/", x_ikegate_refresh="1")
    monkeypatch.setattr(access, "_clock", lambda: now + 31 * 60)
    assert (await person.get("/", x_ikegate_refresh="1")).status_code == 303


async def test_static_files_are_kept_under_their_versioned_address_only(person: Person) -> None:
    page = await person.look("/setup")
    script = page.all("script")[0].attributes["src"]
    kept = await person.get(script)
    assert kept.status_code == 200
    assert "immutable" in kept.headers["cache-control"]
    assert (await person.get("/static/app.js")).headers["cache-control"] == "no-cache"
    assert (await person.get("/static/../app.py")).status_code == 404
    assert (await person.get("/static/%2e%2e/app.py")).status_code == 404


async def test_a_notice_is_shown_once_and_escaped(person: Person) -> None:
    await setup(person)
    session = f"{SESSION_COOKIE}={person.client.cookies.get(SESSION_COOKIE)}"
    answer = await person.get("/", cookie=f"{session}; {NOTICE_COOKIE}=%3Cscript%3Ealert%281%29")
    assert "&lt;script&gt;alert(1)" in answer.text
    assert f'{NOTICE_COOKIE}=""' in answer.headers["set-cookie"]
    assert "alert(1)" not in (await person.get("/", cookie=session)).text


def hostile_pages() -> list[str]:
    peers = samples.snapshot().peers
    acme = tunnel(samples.STATUS, "acme", peers["acme"])
    failed = attempt_page(samples.MISMATCH)
    both = [samples.KNOCK, samples.MISMATCH]
    plain = {"title": "A page", "now": samples.NOW, "user": samples.HOSTILE, "path": "/", "notice": samples.HOSTILE}
    plain |= {"status": samples.STATUS, "records": samples.RECORDS, "call": samples.HOSTILE, "filtered": True}
    plain |= {
        "q": samples.HOSTILE,
        "state": samples.HOSTILE,
        "topic": "",
        "peer": samples.HOSTILE,
        "started_at": samples.NOW,
    }
    plain |= {"outcome": "", "outcomes": (), "topics": (), "peers": [samples.HOSTILE], "more": True, "filters": FILTERS}
    rows = tunnel_rows(samples.STATUS, peers)
    return [
        html("overview.html", **plain, quantum="", view=overview(samples.STATUS, both, samples.NOW)),
        html("tunnels.html", **plain, rows=rows, total=6, pages=2, page_number=1),
        html("tunnel.html", **plain, view=acme, failed=failed, outages=outage_rows(samples.OUTAGES)),
        html("tunnel_history.html", **plain, view=acme, rows=attempt_rows(both)),
        html("sessions.html", **plain, view=sessions(samples.STATUS)),
        html("attempts.html", **plain, rows=attempt_rows(both)),
        html("attempt.html", **plain, view=failed),
        html("attempt.html", **plain, view=attempt_page(samples.KNOCK)),
        html("events.html", **plain),
        html("problem.html", **plain, code=404, detail=samples.HOSTILE, request_id=samples.HOSTILE),
    ]


def test_a_tunnel_shows_the_addresses_and_dns_servers_that_were_given() -> None:
    text = Page(hostile_pages()[2]).all("main")[0].text
    for told in ("10.97.0.5, fd00:97::5", "10.2.0.53, fd02::53", "corp.example, ", "10.99.0.7"):
        assert told in text


def test_markup_from_a_peer_stays_text() -> None:
    for source in hostile_pages():
        page = Page(source)
        assert page.faults == []
        assert page.all("img") == []
        assert [element.attributes.get("src", "")[:8] for element in page.all("script")] == ["/static/"]
        assert samples.HOSTILE in page.all("body")[0].text
