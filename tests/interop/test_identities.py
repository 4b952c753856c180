"""Who the ends say they are: every kind of identity, each pair of them with a key of its own, and patterns of ours."""

import pytest

from tests.interop.planes import roles, userspace_only
from tests.interop.tunnels import Pair, Tunnel

pytestmark = userspace_only

IDENTITIES = {
    "address": ("192.0.2.1", "192.0.2.2"),
    "fqdn": ("moon.lab", "sun.lab"),
    "email": ("moon@lab.example", "sun@lab.example"),
    "keyid": ("keyid:left gateway", "keyid:right gateway"),
    "dn": ("C=CH, O=Lab, CN=moon", "C=CH, O=Lab, CN=sun"),
    "mixed": ("moon.mixed.lab", "192.0.2.2"),
}
PATTERNS = {
    "pattern-fqdn": ("sun.wild.lab", "*.wild.lab"),
    "pattern-email": ("sun@wild.lab", "*@wild.lab"),
    "pattern-address": ("192.0.2.2", "192.0.2.0/24"),
    "anybody": ("keyid:somebody", "%any"),
}
TUNNELS = {
    **{
        name: Tunnel(name=name, left_id=left, right_id=right, secret=f"the secret of {name}")
        for name, (left, right) in IDENTITIES.items()
    },
    **{
        name: Tunnel(
            name=name,
            left_id=f"{name}.lab",
            right_id=right,
            secret=f"the secret of {name}",
            ours={"remote_id": pattern},
        )
        for name, (right, pattern) in PATTERNS.items()
    },
}
# Our address as our identity, without saying so.
TUNNELS["unnamed"] = Tunnel(
    name="unnamed", left_id="192.0.2.1", right_id="sun.unnamed.lab", secret="nameless", ours={"local_id": None}
)


@pytest.fixture(scope="module")
def tunnels(pair: Pair) -> Pair:
    pair.load(*TUNNELS.values())
    return pair


@roles
@pytest.mark.parametrize("name", TUNNELS)
def test_the_peer_is_known_by_its_identity(tunnels: Pair, name: str, initiator: str) -> None:
    tunnel = TUNNELS[name]
    tunnels.up(tunnel, initiator=initiator)
    (sa,) = tunnels.gateway.ike_sas()
    assert (sa["peer"], sa["local_id"], sa["remote_id"]) == (name, *tunnel.ids())
    (theirs,) = tunnels.theirs(tunnel)
    assert theirs["state"] == "ESTABLISHED"
    assert theirs["remote-id"] == tunnel.ids()[0].removeprefix("keyid:")
    tunnels.down(tunnel)
