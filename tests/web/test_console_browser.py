"""The console in a real browser, on a real gateway that negotiates with another real one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.web.console_lab import LAB, SECRET, Lab, chromium, on_loop, set_up, sign_in, visitor

pytestmark = [pytest.mark.browser, pytest.mark.requires("chromium"), pytest.mark.timeout(180)]
HOSTILE = "keyid:<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path).running() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def fill_new_tunnel(page: Page, lab: Lab) -> None:
    page.goto("/tunnels/new")
    page.get_by_label("Name", exact=True).fill("far")
    page.get_by_label("Address", exact=True).fill("127.0.0.1")
    page.get_by_label("Its identity").fill("far.example")
    page.get_by_label("Our identity").fill("here.example")
    page.get_by_label("On this side").fill("10.1.0.0/16")
    page.get_by_label("On the other side").fill("10.2.0.0/24")
    page.get_by_label("Key", exact=True).fill(SECRET)
    page.get_by_text("Addresses, timers and limits").click()
    page.get_by_label("Port of the other side").fill(str(lab.far_port))


def whole_journey(page: Page, lab: Lab, *, script: bool) -> None:
    set_up(page, lab, script=script)
    if (menu := page.get_by_role("button", name="Menu")).is_visible():
        menu.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/tunnels")
    sign_in(page)
    expect(page).to_have_url(re.compile("/tunnels$"))

    fill_new_tunnel(page, lab)
    page.get_by_label("On this side").fill("10.1.0.1/16")
    page.get_by_role("button", name="Save and connect").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved.")
    expect(page.locator("#child-0-local-error")).to_contain_text("did you mean 10.1.0.0/16?")
    expect(page.get_by_label("Key", exact=True)).to_have_value(SECRET)
    page.get_by_label("On this side").fill("10.1.0.0/16")
    page.get_by_role("button", name="Save and connect").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("far")
    wait_for_state(page, "Up", script=script)
    expect(page.locator("#networks")).to_contain_text("10.2.0.0/24")
    expect(page.locator("#sas")).to_contain_text("far.example")

    page.get_by_role("link", name="History").click()
    page.get_by_role("link", name=re.compile("^No. ")).first.click()
    expect(page.locator("#steps li")).to_have_count(6)
    expect(page.locator("#steps .up")).to_have_count(6)

    page.goto("/tunnels/far/settings")
    page.get_by_label("Description").fill("The far side <b>of the moon</b>")
    page.get_by_role("button", name="What would it do?").click()
    expect(page.get_by_role("status").filter(has_text="touch no session")).to_be_visible()
    page.get_by_role("button", name="Save and apply").click()
    expect(page.locator("#tunnel-head")).to_contain_text("The far side <b>of the moon</b>")
    wait_for_state(page, "Up", script=script)

    page.get_by_role("button", name="Disconnect").click()
    wait_for_state(page, "Down", script=script)
    expect(page.locator("#reason")).to_contain_text("administrator")
    page.get_by_role("button", name="Connect", exact=True).click()
    wait_for_state(page, "Up", script=script)

    page.goto("/tunnels/far/delete")
    page.get_by_label("Type far to confirm").fill("fur")
    page.get_by_role("button", name="Delete far").click()
    expect(page.locator("#confirm-error")).to_contain_text("Type far exactly")
    page.get_by_label("Type far to confirm").fill("far")
    page.get_by_label("Delete its pre-shared key far too").check()
    page.get_by_role("button", name="Delete far").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("No tunnel is set up yet")
    assert not lab.here.config.inventory.psks


def wait_for_state(page: Page, word: str, *, script: bool) -> None:
    """With script the page follows by itself; without it one looks again."""
    shown = page.locator("#tunnel-head .state")
    for _ in range(0 if script else 40):
        if shown.inner_text().strip() == word:
            break
        page.wait_for_timeout(250)
        page.goto(page.url)
    expect(shown).to_have_text(word)


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_the_whole_journey(lab: Lab, browser: Browser, phone: bool) -> None:
    with visitor(browser, lab, phone=phone) as context:
        whole_journey(context.new_page(), lab, script=True)


def test_the_whole_journey_without_script(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab, script=False) as context:
        whole_journey(context.new_page(), lab, script=False)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_what_is_advanced_and_what_holds_for_all(lab: Lab, browser: Browser, script: bool) -> None:
    with visitor(browser, lab, script=script) as context:
        page = context.new_page()
        set_up(page, lab, script=script)
        fill_new_tunnel(page, lab)
        when_down = page.get_by_label("While nothing protects this traffic")
        expect(when_down).to_be_hidden()
        page.get_by_text("Advanced for these networks").click()
        when_down.select_option(label="It passes in the clear")
        page.get_by_label("Largest TCP segment, octets").fill("13")
        expect(page.get_by_label("Copy the don't-fragment bit to the outside")).to_be_checked()
        page.get_by_role("button", name="Save and connect").click()
        expect(page.locator("#child-0-mss-error")).to_contain_text("Write 0 to leave segments alone")
        expect(when_down).to_be_visible()  # where a mistake is, is open
        page.get_by_label("Largest TCP segment, octets").fill("1300")
        page.get_by_role("button", name="Save and connect").click()
        wait_for_state(page, "Up", script=script)
        expect(page.locator("#networks")).to_contain_text("in the clear while down, TCP segments up to 1300 octets")
        child = lab.here.config.child("far", "net")
        assert (child.when_down, child.mss, child.copy_df) == ("pass", 1300, True)

        page.goto("/rules")
        page.get_by_label("Address or network").fill("127.0.0.0/8")
        page.get_by_role("button", name="Block it").click()
        expect(page.locator("#network-error")).to_contain_text("127.0.0.1 of peer 'far'")
        page.get_by_label("Address or network").fill("198.51.100.7")
        page.get_by_role("button", name="Block it").click()
        expect(page.get_by_role("table", name="Blocked sources")).to_contain_text("198.51.100.7/32")
        page.get_by_role("button", name="Let in 198.51.100.7/32").click()
        expect(page.get_by_role("status").filter(has_text="198.51.100.7/32 is let in again.")).to_be_visible()
        page.goto("/settings")
        page.get_by_label("Let newcomers solve puzzles under pressure").check()
        page.get_by_role("button", name="Save and apply").click()
        expect(page.get_by_label("Let newcomers solve puzzles under pressure")).to_be_checked()
        assert lab.here.config.snapshot().settings.puzzles


def connected(context: BrowserContext, lab: Lab) -> Page:
    page = context.new_page()
    set_up(page, lab, script=True)
    child = {"name": "net", "local_selectors": ["10.1.0.0/16"], "remote_selectors": ["10.2.0.0/16"]}
    peer = {
        "name": "far",
        "local_id": "here.example",
        "remote_id": "far.example",
        "remote_addresses": ["127.0.0.1"],
        "remote_port": lab.far_port,
        "children": [child],
    }
    psk = {"name": "far", "secret": SECRET, "remote_ids": ["far.example"]}
    on_loop(lab, lab.here.config.apply({"apiVersion": "ikegate/v1", "peers": [peer], "psks": [psk]}, LAB))
    return page


def test_pages_follow_what_happens_and_keep_what_a_person_does(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab) as context:
        page = connected(context, lab)
        expect(page.get_by_role("heading", level=1)).to_have_text("The tunnel is up")  # nobody reloaded
        expect(page.locator("#live")).to_have_text("Live")
        page.goto("/tunnels/far")
        expect(page.locator("#networks .narrowed").first).to_be_visible()  # the far side has only 10.2.0.0/24
        page.get_by_text("As API call").click()
        expect(page.locator("#api-call")).to_be_visible()
        page.get_by_role("button", name="Disconnect").focus()
        on_loop(lab, lab.far.actions.disconnect("here", wait=2))
        on_loop(lab, lab.here.actions.disconnect("far", wait=2))
        expect(page.locator("#tunnel-head .state")).to_have_text("Down")
        expect(page.locator("#api-call")).to_be_visible()
        page.goto("/events")
        page.get_by_label("Search").fill("installed far")
        expect(page).to_have_url(re.compile(r"/events\?q=installed\+far$"))
        expect(page.locator("#events li").first).to_contain_text("installed")
        expect(page.locator("#events li").filter(has_text="signed")).to_have_count(0)
        expect(page.get_by_label("Search")).to_be_focused()


def test_a_lost_gateway_greys_the_page_and_says_since_when(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab, outage=True) as context:
        page = connected(context, lab)
        expect(page.locator("#live")).to_have_text("Live")
        context.set_offline(True)
        expect(page.locator("#live")).to_have_text(re.compile(r"Reconnecting \(data from \d\d:\d\d:\d\d\)"))
        expect(page.locator("html")).to_have_class("stale")
        context.set_offline(False)
        expect(page.locator("#live")).to_have_text("Live")
        expect(page.locator("html")).not_to_have_class("stale")


def test_a_hostile_identity_stays_text_everywhere(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab) as context:
        page = connected(context, lab)
        expect(page.get_by_role("heading", level=1)).to_have_text("The tunnel is up")
        raised: list[str] = []
        page.on("dialog", lambda dialog: (raised.append(dialog.message), dialog.dismiss()))
        on_loop(lab, lab.here.actions.disconnect("far", wait=3))
        port = lab.here.settings.nat_port
        caller = {
            "remote_addresses": ["127.0.0.1"],
            "remote_port": port,
            "local_id": HOSTILE,
            "remote_id": "here.example",
        }
        document = {
            **caller,
            "children": [{"name": "net", "local_selectors": ["10.2.0.0/24"], "remote_selectors": ["10.1.0.0/16"]}],
        }
        psk = {"name": "here", "secret": SECRET, "remote_ids": ["here.example"]}
        on_loop(lab, lab.far.config.put("psks", "here", psk, LAB))
        on_loop(lab, lab.far.config.put("peers", "here", document, LAB))
        expect(page.locator("#attention")).to_contain_text("<script>alert(1)</script>")
        page.get_by_role("link", name=re.compile("See why")).last.click()
        expect(page.locator("#who")).to_contain_text("<img src=x onerror=alert(2)>")
        page.get_by_role("link", name="Create tunnel from this attempt").click()
        expect(page.get_by_label("Its identity")).to_have_value(HOSTILE)
        page.goto("/attempts")
        expect(page.locator("#attempts")).to_contain_text("<script>alert(1)</script>")
        page.goto("/events")
        expect(page.locator("#events")).to_be_visible()
        assert raised == []
        assert page.locator("main img").count() == 0


def test_pages_fit_a_phone_and_work_with_a_keyboard(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab, phone=True, dark=True) as context:
        page = connected(context, lab)
        paths = ("/", "/tunnels", "/tunnels/far", "/tunnels/far/settings", "/tunnels/new", "/sessions", "/attempts")
        paths += (
            "/attempts/1",
            "/events",
            "/psks",
            "/psks/far",
            "/credentials",
            "/ppks/new",
            "/access",
            "/access/radius/new",
            "/access/profiles/new",
            "/proposals",
            "/proposals/modern-pq-ike",
            "/post-quantum",
            "/tunnels/far/delete",
            "/account",
            "/rules",
            "/rules/shunts/new",
            "/settings",
        )
        for path in paths:
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, path
        page.goto("/tunnels")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.get_by_role("button", name="Menu").press("Enter")
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Proposals").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Proposals")


def test_a_session_that_ended_leads_back_to_signing_in(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab) as context:
        page = connected(context, lab)
        page.goto("/tunnels")
        expect(page.locator("#live")).to_have_text("Live")
        secret = next(cookie["value"] for cookie in context.cookies() if cookie["name"] == "__Host-ikegate")
        on_loop(lab, lab.here.config.access.sign_out(secret))
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        expect(page).to_have_url(re.compile(r"/login\?next=/tunnels$"))


def test_a_new_token_stays_on_the_page_while_it_looks_at_itself_again(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab, phone=True) as context:
        page = connected(context, lab)
        page.goto("/account")
        page.get_by_label("Name of the token").fill("ansible")
        page.get_by_role("button", name="Make the token").click()
        text = page.locator("#made").inner_text()
        assert text.startswith("ikg_")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        with visitor(browser, lab) as another:
            elsewhere = another.new_page()
            elsewhere.goto("/login")
            sign_in(elsewhere)
            expect(page.locator("#signed-in li")).to_have_count(2)
        expect(page.locator("#made")).to_have_text(text)


def test_a_page_of_something_deleted_says_so_by_itself(lab: Lab, browser: Browser) -> None:
    with visitor(browser, lab) as context:
        page = connected(context, lab)
        page.goto("/tunnels/far")
        expect(page.locator("#live")).to_have_text("Live")
        on_loop(lab, lab.here.config.delete("peers", "far", LAB))
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


@pytest.mark.parametrize(("script", "phone"), [(True, False), (False, True)], ids=["script", "plain-phone"])
def test_an_authority_a_certificate_and_a_tunnel_by_it(lab: Lab, browser: Browser, script: bool, phone: bool) -> None:
    with visitor(browser, lab, script=script, phone=phone) as context:
        page = context.new_page()
        set_up(page, lab, script=script)
        page.goto("/credentials")
        page.get_by_role("link", name="New authority").click()
        page.get_by_label("Name", exact=True).fill("ca")
        page.get_by_label("Common name").fill("Lab <b>authority</b>")
        page.get_by_role("button", name="Save the authority").click()
        expect(page.locator("ol.lines")).to_contain_text("Root authority")
        expect(page.locator("ol.lines")).to_contain_text(r"Lab \<b\>authority\</b\>")
        page.get_by_role("link", name="Issue a certificate").click()
        if script:
            expect(page.get_by_label("Certificate request (CSR)")).to_be_hidden()
        page.get_by_label("Name", exact=True).fill("here")
        page.get_by_label("Names", exact=True).fill("not a name")
        page.get_by_role("button", name="Save the certificate").click()
        expect(page.get_by_role("alert")).to_contain_text("is no address, DNS name or e-mail address")
        page.get_by_label("Names", exact=True).fill("here.example")
        page.get_by_role("button", name="Save the certificate").click()
        expect(page.locator("ol.lines > li")).to_have_count(2)
        expect(page.locator("ol.lines > li").last).to_contain_text("here.example")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download PEM").click()
        assert "BEGIN CERTIFICATE" in download.value.path().read_text()

        page.goto("/tunnels/new")
        page.get_by_label("Name", exact=True).fill("far")
        page.get_by_label("Address", exact=True).fill("192.0.2.1")
        page.get_by_label("Its identity").fill("far.example")
        page.get_by_label("Our identity").fill("here.example")
        page.get_by_label("On this side").fill("10.1.0.0/16")
        page.get_by_label("On the other side").fill("10.2.0.0/24")
        page.get_by_label("We, by").select_option("certificate")
        page.get_by_label("The other side, by").select_option("certificate")
        if script:
            expect(page.get_by_label("Key", exact=True)).to_be_hidden()
        page.get_by_label("Our certificate or key").select_option("here")
        page.get_by_label("Issued by").select_option("ca")
        page.get_by_role("button", name="Save and connect").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("far")
        assert lab.here.config.peer("far").local_auth[0].certificate == "here"

        page.goto("/certificates/here")
        page.get_by_label("Type here to confirm").fill("here")
        page.get_by_role("button", name="Revoke here").click()
        expect(page.locator("ol.lines > li").last).to_contain_text("Revoked")
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, "nothing sticks out sideways"


@pytest.mark.parametrize(("script", "phone"), [(True, True), (False, False)], ids=["script-phone", "plain"])
def test_a_tunnel_for_people_whom_radius_lets_in(lab: Lab, browser: Browser, script: bool, phone: bool) -> None:
    with visitor(browser, lab, script=script, phone=phone) as context:
        page = context.new_page()
        set_up(page, lab, script=script)
        page.goto("/tunnels/new")
        page.get_by_label("Name", exact=True).fill("people")
        page.get_by_label("It calls us, from wherever it is").check()
        page.get_by_label("Its identity").fill("%any")
        page.get_by_label("Our identity").fill("here.example")
        page.get_by_label("On this side").fill("10.1.0.0/16")
        page.get_by_label("On the other side").fill("10.2.0.0/24")
        if script:
            expect(page.get_by_label("EAP asks for")).to_be_hidden()
        page.get_by_label("The other side, by").select_option("eap")
        page.get_by_label("EAP asks for").select_option("radius")
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, "nothing sticks out sideways"
        page.get_by_role("button", name="Save", exact=False).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("people")
        asked = lab.here.config.peer("people").remote_auth[0]
        assert (asked.method, asked.eap_methods) == ("eap", ("radius",))
        page.goto("/tunnels/people/settings")
        expect(page.get_by_label("EAP asks for")).to_have_value("radius")
