"""The form of a tunnel: what is typed in, and what stands there."""

from gateway.storage.peers import ChildObject
from tests.web.console_lab import SECRET
from tests.web.console_markup import Page

NEW = {
    "name": "branch",
    "description": "The office",
    "side": "address",
    "address": "192.0.2.17",
    "remote_id": "",
    "local_id": "gw.example",
    "child-0-name": "net",
    "child-0-local": "10.1.0.0/16",
    "child-0-remote": "10.2.0.0/16\n10.3.0.0/24[tcp/443]",
    "child-0-start": "passive",
    "key": "new",
    "secret": SECRET,
    "policy": "modern-pq",
    "action": "save",
}


def values(page: Page) -> dict[str, str]:
    """What a browser would send of a page's fields, by name."""
    found: dict[str, str] = {}
    for element in page.all("input", "textarea", "select"):
        kind, name = element.attributes.get("type"), element.attributes.get("name", "")
        if kind in ("radio", "checkbox") and "checked" not in element.attributes:
            continue
        if element.name == "select":
            options = [option for option in page.all("option") if option.parent is element]
            chosen = next((option for option in options if "selected" in option.attributes), options[0])
            found[name] = chosen.attributes["value"]
        else:
            found[name] = element.text.removeprefix("\n") if element.name == "textarea" else element.attributes["value"]
    return found


ODD_CHILD = ChildObject(
    name="odd",
    local_selectors=("10.1.0.0/16",),
    remote_selectors=("0.0.0.0/0",),
    start="on-demand",
    mode="transport",
    rekey_octets=10**9,
    rekey_packets=10**6,
    idle_timeout=90.5,
    when_down="pass",
    interface_id=7,
    interface="office",
    mark="0x10/0xff",
    single_pair=True,
    offload="packet",
    copy_dscp=True,
    copy_df=False,
    mss=1300,
    replay_window=0,
)
