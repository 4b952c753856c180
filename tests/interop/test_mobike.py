"""Either end gets another address while the tunnel stands: MOBIKE with strongSwan, in both roles."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.planes import roles
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

HERE, THERE = "192.0.2.1", "192.0.2.2"
movers = pytest.mark.parametrize("mover", ["ours", "theirs"])


def mobile(name: str, **ours: Any) -> Tunnel:
    """Both ends may be anywhere on the cable."""
    return Tunnel(
        name=name,
        ours={"remote_addresses": [THERE, "192.0.2.0/24"], **ours},
        theirs={"local_addrs": "%any", "remote_addrs": f"{HERE},192.0.2.0/24"},
    )


def renumber(pair: Pair, mover: str, old: str, new: str) -> None:
    """Take the old address away and give the new one, as another lease does."""
    namespace, device = (pair.left, "to-right") if mover == "ours" else (pair.right, "to-left")
    namespace.ip("-6", "address", "flush", "dev", device)  # where both would go in between
    namespace.ip("address", "del", f"{old}/24", "dev", device)
    namespace.ip("address", "add", f"{new}/24", "dev", device)


def ends(pair: Pair, tunnel: Tunnel) -> tuple[str, str, str, str]:
    """Where the only IKE SA leads: as we, and as strongSwan tell it, ours first."""
    both = *pair.gateway.ike_sas(tunnel.name), *pair.theirs(tunnel)
    if len(both) != 2:
        return "", "", "", ""
    ours, theirs = both
    return ours["local"], ours["remote"].rpartition(":")[0], theirs["remote-host"], theirs["local-host"]


def arrive(pair: Pair, tunnel: Tunnel, wanted: tuple[str, ...]) -> None:
    """Wait until both ends know the addresses."""
    try:
        until(lambda: ends(pair, tunnel) == wanted, "both ends know", seconds=20)
    except AssertionError:
        raise AssertionError(f"{ends(pair, tunnel)}\n{pair.gateway.tail()}\n{pair.charon.tail(60)}") from None


def identity(pair: Pair, tunnel: Tunnel, plane: str) -> tuple[list[int], list[int], str]:
    """What is the same as long as nothing was negotiated anew.

    charon's ESP in userspace cannot move states: there it rekeys the children of its own accord.
    """
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    (theirs,) = pair.theirs(tunnel)
    children = [child["id"] for child in sa["children"]] if plane == "kernel" else []
    return [sa["id"]], children, theirs["initiator-spi"]


@roles
@movers
def test_tunnel_follows_the_address(fresh_pair: Callable[..., Pair], plane: str, initiator: str, mover: str) -> None:
    pair = fresh_pair()
    tunnel = mobile(f"mobile-{initiator}-{mover}")
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    before = identity(pair, tunnel, plane)
    assert pair.pings()
    old, new = (HERE, "192.0.2.11") if mover == "ours" else (THERE, "192.0.2.12")
    for leaves, comes in ((old, new), (new, old)):
        renumber(pair, mover, leaves, comes)
        wanted = (comes, THERE) * 2 if mover == "ours" else (HERE, comes) * 2
        arrive(pair, tunnel, wanted)
        until(pair.pings, f"packets go by {comes}", seconds=15)
        assert identity(pair, tunnel, plane) == before
        only = {frozenset(wanted[:2])}  # what was rekeyed lingers for some seconds where it was
        until(lambda only=only: outer_of(pair.gateway.ask("states")) == only, "no state elsewhere", seconds=20)  # type: ignore[misc]
    pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
    assert pair.pings()
    pair.down(tunnel, initiator=initiator)


def outer_of(states: list[Plain]) -> set[frozenset[str]]:
    """Between which addresses the data plane's states lie."""
    return {frozenset((state["source"], state["destination"])) for state in states}


def test_without_mobike_it_is_called_again_at_once(fresh_pair: Callable[..., Pair], plane: str) -> None:
    pair = fresh_pair()
    tunnel = Tunnel(
        name="fixed",
        ours={"remote_addresses": [THERE], "mobike": False},
        nets=(Net(ours={"start": "always"}),),
        theirs={"remote_addrs": "%any"},
    )
    pair.load(tunnel)
    until(lambda: pair.theirs(tunnel) and pair.gateway.children(tunnel.name), "it is up")
    before = identity(pair, tunnel, plane)
    for leaves, comes in ((HERE, "192.0.2.11"), ("192.0.2.11", HERE)):
        renumber(pair, "ours", leaves, comes)
        arrive(pair, tunnel, (comes, THERE) * 2)
        until(pair.pings, f"packets go by {comes}")
    assert identity(pair, tunnel, plane) != before
    pair.down(tunnel)
