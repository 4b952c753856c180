"""Redirects between us and strongSwan (RFC 5685): each end has two addresses, and plays two gateways."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.conftest import start_pair
from tests.interop.planes import userspace_only
from tests.interop.tunnels import OUTER, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.strongswan6 import Charon6

pytestmark = userspace_only

OURS, THEIRS = OUTER[4]
OUR_OTHER, THEIR_OTHER = "192.0.2.11", "192.0.2.12"


@pytest.fixture
def doubled(plane: str, tmp_path: Path) -> Iterator[Pair]:
    """A pair whose ends have a second address each."""
    with ExitStack() as stack:
        pair = start_pair(stack, tmp_path, plane)
        pair.left.address("to-right", f"{OUR_OTHER}/24")
        pair.right.address("to-left", f"{THEIR_OTHER}/24")
        yield pair


def both_addresses(name: str) -> Tunnel:
    return Tunnel(
        name=name,
        theirs={"local_addrs": f"{THEIRS},{THEIR_OTHER}", "remote_addrs": f"{OURS},{OUR_OTHER}"},
        ours={"remote_addresses": [THEIRS, THEIR_OTHER]},
    )


def test_we_send_strongswan_on_when_it_calls(doubled: Pair) -> None:
    tunnel = both_addresses("called")
    doubled.load(tunnel)
    doubled.gateway.ask("limit", redirect_to=OUR_OTHER)
    doubled.charon.initiate(tunnel.child_name(tunnel.nets[0]))
    until(lambda: doubled.settled(tunnel), "it stands at both ends, and once")
    assert doubled.gateway.ike_sas(tunnel.name)[0]["local"].startswith(OUR_OTHER)
    assert doubled.theirs(tunnel)[0]["remote-host"] == OUR_OTHER
    assert doubled.pings()
    assert doubled.gateway.status()["counters"]["redirected"] == 1


def test_strongswan_does_not_go_when_it_was_told_not_to(plane: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = start_pair(stack, tmp_path, plane, "follow_redirects = no")
        pair.left.address("to-right", f"{OUR_OTHER}/24")
        tunnel = both_addresses("stays")
        pair.load(tunnel)
        pair.gateway.ask("limit", redirect_to=OUR_OTHER)
        pair.up(tunnel, initiator="theirs")
        assert pair.gateway.ike_sas(tunnel.name)[0]["local"].startswith(f"{OURS}")
        assert pair.pings()


@pytest.mark.requires("strongswan6")
def test_we_send_strongswan_on_when_it_has_proven_itself(plane: str, tmp_path: Path) -> None:
    """strongSwan 6; charon 5.9.8 follows, begins a new IKE_SA_INIT and ends there with a crash of its own."""
    with ExitStack() as stack:
        six = start_pair(stack, tmp_path, plane, charon=Charon6)
        six.left.address("to-right", f"{OUR_OTHER}/24")
        six.right.address("to-left", f"{THEIR_OTHER}/24")
        tunnel = both_addresses("proven")
        tunnel = replace(tunnel, ours={**tunnel.ours, "redirect_to": OUR_OTHER})
        six.load(tunnel)
        six.charon.initiate(tunnel.child_name(tunnel.nets[0]))
        until(
            lambda: [sa["local"].startswith(OUR_OTHER) for sa in six.gateway.ike_sas(tunnel.name)] == [True],
            "it stands at our other address, and nowhere else",
        )
        sa = until(lambda: six.settled(tunnel), "it stands at strongSwan's end too, and once")
        assert sa and len(sa["children"]) == 1 and sa["local"].startswith(OUR_OTHER)
        assert six.theirs(tunnel)[0]["remote-host"] == OUR_OTHER
        assert six.pings()
        assert any("sent on to" in one["text"] for a in six.gateway.ask("attempts") for one in a["steps"])


def test_we_send_strongswan_on_while_it_is_here(doubled: Pair) -> None:
    tunnel = both_addresses("moved")
    doubled.load(tunnel)
    doubled.up(tunnel, initiator="theirs")
    assert doubled.gateway.ike_sas(tunnel.name)[0]["local"].startswith(OURS)
    assert (done := doubled.gateway.ask("redirect", peer=tunnel.name, to=OUR_OTHER))["ok"], done
    until(
        lambda: [sa["local"].startswith(OUR_OTHER) for sa in doubled.gateway.ike_sas(tunnel.name)] == [True],
        "it stands at our other address",
    )
    until(lambda: len(doubled.gateway.children(tunnel.name)) == 1, "its child stands there too")
    assert doubled.pings()


def test_strongswan_sends_us_on_while_we_are_there(doubled: Pair) -> None:
    tunnel = both_addresses("sent")
    doubled.load(tunnel)
    doubled.up(tunnel, initiator="ours")
    assert doubled.gateway.ike_sas(tunnel.name)[0]["remote"].startswith(THEIRS)
    doubled.charon.request("redirect", {"ike": tunnel.name, "gateway": THEIR_OTHER})
    until(
        lambda: [sa["remote"].startswith(THEIR_OTHER) for sa in doubled.gateway.ike_sas(tunnel.name)] == [True],
        "we stand at its other address",
    )
    until(lambda: len(doubled.gateway.children(tunnel.name)) == 1, "our child stands there too")
    assert doubled.pings()
    asked = [event for event in doubled.gateway.ask("events") if event["kind"] == "ike-sa.redirected"]
    assert asked[0]["data"]["to"] == THEIR_OTHER


def test_we_stay_with_strongswan_when_we_must_not_be_sent_on(doubled: Pair) -> None:
    tunnel = both_addresses("stay")
    tunnel = Tunnel(**{**tunnel.__dict__, "ours": {**tunnel.ours, "redirect": False}})
    doubled.load(tunnel)
    doubled.up(tunnel, initiator="ours")
    doubled.charon.request("redirect", {"ike": tunnel.name, "gateway": THEIR_OTHER})
    until(lambda: "client does not support IKE redirection" in doubled.charon.log(), "strongSwan has seen the order")
    assert doubled.gateway.ike_sas(tunnel.name)[0]["remote"].startswith(THEIRS)
    assert doubled.pings()
