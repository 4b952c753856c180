"""A post-quantum pre-shared key beside EAP with strongSwan (RFC 8784 3), both roles: used, required, done without."""

from dataclasses import replace
from typing import Any

import pytest

from tests.interop.eap_ends import PASSWORD, ROOT, USER, give_files, pem, they_call, we_call
from tests.interop.planes import roles, userspace_only
from tests.interop.test_ppk import OTHER, SHARED
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair, Tunnel, text_of

pytestmark = userspace_only


@pytest.fixture(scope="module", autouse=True)
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Certificates and a user at both ends."""
    give_files(pair, tmp_path_factory.mktemp("certificates"))


def load(pair: Pair, tunnel: Tunnel) -> None:
    secrets = {f"ike-{tunnel.name}": tunnel.their_psk(), "eap-anna": {"id": USER, "secret": PASSWORD}}
    secrets |= {f"ppk-{n}": {"id": one, "secret": key} for n, (one, key) in enumerate(SHARED.items())}
    pair.charon.load(text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": secrets}))
    document: dict[str, Any] = {
        "proposals": tunnel.proposals(),
        "peers": [tunnel.peer()],
        "psks": [tunnel.psk()],
        "ppks": tunnel.our_ppks(),
        "users": [{"name": USER, "password": PASSWORD}],
        "authorities": [{"name": "root", "certificate": pem(ROOT)}],
    }
    pair.gateway.apply(document, prune=True)


def tunnel_of(initiator: str, method: str, ppks: dict[str, str], *, required: bool, insists: bool) -> Tunnel:
    name = f"ppk-{method}"
    ours: dict[str, Any] = {"ppk_required": True} if required else {}
    theirs: dict[str, Any] = {"ppk_id": "2026.lab", "ppk_required": "yes"} if insists else {}
    if initiator == "theirs":
        theirs |= {"ppk_id": "2026.lab", "local": {"auth": f"eap-{method}", "eap_id": USER, "id": "laptop.lab"}}
        made = they_call(name, theirs, ours | {"remote_auth": [{"method": "eap", "eap_methods": [method]}]})
    else:
        theirs |= {"remote": {"auth": f"eap-{method}", "eap_id": "%any", "id": "laptop.lab"}}
        auth = [{"method": "eap", "eap_identity": USER, "eap_methods": [method]}]
        made = we_call(name, theirs, ours | {"local_auth": auth, "eap_password": PASSWORD})
    return replace(made, ppks=ppks)


def told(pair: Pair, tunnel: Tunnel) -> str:
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    text: str = sa["key_exchange"]
    return text


@roles
@pytest.mark.parametrize("method", ["mschapv2", "md5"])
@pytest.mark.parametrize("required", [False, True])
def test_both_have_it(pair: Pair, initiator: str, method: str, required: bool) -> None:
    tunnel = tunnel_of(initiator, method, SHARED, required=required, insists=required)
    load(pair, tunnel)
    pair.up(tunnel, initiator=initiator)
    assert told(pair, tunnel) == "PPK: X25519 with a PPK"
    assert pair.pings()
    pair.renew(tunnel, initiator="ours")
    assert pair.pings()
    pair.down(tunnel, initiator=initiator)


@roles
@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_an_unknown_identity_is_done_without(pair: Pair, initiator: str, method: str) -> None:
    tunnel = tunnel_of(initiator, method, OTHER, required=False, insists=False)
    load(pair, tunnel)
    pair.up(tunnel, initiator=initiator)
    assert told(pair, tunnel).startswith("classical: ")
    assert pair.pings()
    pair.down(tunnel, initiator=initiator)


@roles
def test_an_unknown_identity_where_we_insist(pair: Pair, initiator: str) -> None:
    tunnel = tunnel_of(initiator, "mschapv2", OTHER, required=True, insists=False)
    load(pair, tunnel)
    charon_says, cause = ("AUTH_FAILED", "peer-refused-us") if initiator == "ours" else ("AUTHENTICATION_FAILED", "ppk")
    attempt = failed(pair, tunnel, initiator, charon_says=charon_says)
    assert attempt["cause"] == cause
