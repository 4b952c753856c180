"""An invitation from the console to the connected device, in a real browser; the device is another gateway of ours."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.web.console_lab import LAB, Lab, chromium, on_loop, set_up, visitor
from tests.web.joining_lab import welcome

pytestmark = [pytest.mark.browser, pytest.mark.requires("chromium"), pytest.mark.timeout(180)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path).running() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def load_into_far(lab: Lab, file: Path) -> None:
    """The other gateway as the device: it gets the key, and connects."""
    with tarfile.open(file) as archive:
        parts = {one.name: archive.extractfile(one).read().decode() for one in archive.getmembers()}  # type: ignore[union-attr]
    own, key, root = (
        next(text for name, text in parts.items() if f"/{folder}/" in name) for folder in ("x509", "private", "x509ca")
    )
    peer = {
        "name": "gate",
        "local_id": "anna+phone@example.com",
        "remote_id": "gw.example",
        "remote_addresses": ["127.0.0.1"],
        "remote_port": lab.here.settings.nat_port,
        "local_auth": [{"method": "certificate", "certificate": "phone"}],
        "remote_auth": [{"method": "certificate", "authorities": ["root"]}],
        "virtual_ip": True,
        "children": [{"name": "net", "local_selectors": [], "remote_selectors": ["10.1.0.0/24"]}],
    }
    document = {
        "apiVersion": "ikegate/v1",
        "authorities": [{"name": "root", "certificate": root}],
        "certificates": [{"name": "phone", "certificate": own, "private_key": key}],
        "peers": [peer],
    }
    on_loop(lab, lab.far.config.apply(document, LAB))


def test_a_person_joins_by_the_link_that_the_administrator_made(lab: Lab, browser: Browser, tmp_path: Path) -> None:
    with visitor(browser, lab) as administrator, visitor(browser, lab, script=False, phone=True) as person:
        console = administrator.new_page()
        set_up(console, lab, script=True)
        on_loop(lab, welcome(lab.here))
        console.goto("/access/users/anna")
        console.get_by_role("link", name="phone", exact=True).click()
        console.get_by_role("button", name="Make a link").click()
        expect(console.get_by_role("img", name="The link as a QR code")).to_be_visible()
        link = console.locator("#invitation-link").inner_text()
        assert link.startswith(f"{lab.url}/join/")

        page = person.new_page()
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("Join the VPN")
        expect(page.get_by_label("Linux, NetworkManager")).to_be_checked()
        page.get_by_label("Linux, swanctl").check()
        with page.expect_download() as download:
            page.get_by_role("button", name="Get the file").click()
        assert download.value.suggested_filename == "anna-phone.tar.gz"
        download.value.save_as(tmp_path / "file")
        page.get_by_role("link", name="What now?").click()
        expect(page.get_by_role("status")).to_contain_text("Waiting for the device")
        load_into_far(lab, tmp_path / "file")
        expect(page.get_by_role("status")).to_contain_text("Connected since", timeout=15_000)  # nobody reloaded
        expect(page.get_by_role("status")).to_contain_text("10.99.0.")

        console.goto("/access/users/anna/devices/phone")
        expect(console.locator(".head .state")).to_have_text("Connected")
        expect(console.get_by_role("table", name=re.compile("Links"))).to_contain_text("File taken")
    with visitor(browser, lab, script=False) as another:
        page = another.new_page()
        page.goto(link)
        expect(page.get_by_role("alert")).to_contain_text("used already")
