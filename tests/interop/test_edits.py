"""An edit of the configuration does to standing tunnels no more than it must: at both ends and in the kernel."""

from collections.abc import Callable

from tests.interop.tunnels import HOSTS, INNER, Net, Pair, Tunnel
from tests.lab.appliance import until

OLD, NEW = "aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-ecp256"
EDITED = Tunnel(name="edited", nets=(Net(ours={"start": "always"}),), theirs={"proposals": f"{OLD},{NEW}"})
OTHER = Tunnel(name="other", nets=(Net(left=(INNER[6][0],), right=(INNER[6][1],), ours={"start": "always"}),))

UNTOUCHED = ["0", "32766", "32767"]
"""The routing rules of a new namespace."""

Standing = dict[str, set[str]]


def standing(pair: Pair) -> Standing:
    """By tunnel, the SPIs of our IKE SA and CHILD_SAs; both ends and the data plane agree on all of them."""
    found: Standing = {}
    for sa in pair.gateway.ike_sas():
        children = sa["children"]
        found[sa["peer"]] = {sa["spi_i"], *(child["spi_in"] for child in children)}
    theirs = {
        sa["name"]: {sa["initiator-spi"], *(child["spi-out"] for child in sa["child-sas"].values())}
        for sa in pair.charon.list_sas()
    }
    assert theirs == found
    inbound = {f"{state['spi']:08x}" for state in pair.gateway.ask("states") if state["inbound"]}
    assert inbound == {spi for spis in found.values() for spi in spis if len(spi) == 8}
    return found


def agreed(pair: Pair, *names: str) -> Standing:
    """The same once nothing is under way and nothing lingers: these tunnels, with one child each."""

    def settled() -> Standing | None:
        try:
            found = standing(pair)
        except AssertionError:
            return None
        return found if set(found) == set(names) and all(len(spis) == 2 for spis in found.values()) else None

    return until(settled, f"{names} stand at both ends", seconds=30) or {}


def test_an_edit_disturbs_what_it_is_about_and_nothing_else(fresh_pair: Callable[..., Pair], plane: str) -> None:
    pair = fresh_pair()
    pair.load(EDITED, OTHER)
    before = agreed(pair, "edited", "other")
    assert pair.pings(4) and pair.pings(6)

    pair.gateway.ask("patch", kind="peers", name="edited", document={"description": "the branch in the north"})
    assert pair.pings(4) and pair.pings(6)
    assert standing(pair) == before

    pair.gateway.ask("patch", kind="proposals", name="edited-ike", document={"suites": [NEW]})
    until(lambda: [sa["algorithms"] for sa in pair.gateway.ike_sas("edited")] == [NEW], "the new proposal", seconds=30)
    after = agreed(pair, "edited", "other")
    assert after["edited"].isdisjoint(before["edited"])
    assert after["other"] == before["other"]
    assert pair.pings(4) and pair.pings(6)

    pair.tap.plain()
    pair.gateway.ask("delete", kind="peers", name="edited")
    assert agreed(pair, "other") == {"other": before["other"]}
    assert pair.pings(6)
    assert not pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=0.3)
    if plane == "kernel":
        states, policies = pair.left.ip("xfrm", "state"), pair.left.ip("xfrm", "policy")
        assert all(f"0x{spi}" not in states for spi in after["edited"])
        assert INNER[4][1] not in policies
        assert INNER[6][1] in policies


def test_sigterm_leaves_nothing_behind(fresh_pair: Callable[..., Pair], plane: str) -> None:
    pair = fresh_pair()
    pair.load(EDITED, OTHER)
    agreed(pair, "edited", "other")
    assert pair.pings(4) and pair.pings(6)
    assert pair.gateway.stop() == 0
    until(lambda: not pair.charon.list_sas(), "strongSwan was told")
    assert "ikegate" not in pair.left.ip("link")
    assert [line.split(":")[0] for line in pair.left.ip("rule").splitlines()] == UNTOUCHED
    assert INNER[4][1] not in pair.left.ip("route", "show", "table", "all")
    assert INNER[6][1] not in pair.left.ip("-6", "route", "show", "table", "all")
    if plane == "kernel":
        assert pair.left.ip("xfrm", "state") == ""
        assert [line for line in pair.left.ip("xfrm", "policy").splitlines() if line.startswith("src")] == []
