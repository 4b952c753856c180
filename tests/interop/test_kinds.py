"""Kinds of CHILD_SA with strongSwan: transport mode, childless, single pairs, traps, ESN, shunts, routes."""

from collections.abc import Iterator

import pytest

from tests.interop.planes import kernel_only, roles
from tests.interop.traffic import connects
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

TRANSPORT = {"mode": "transport"}


def between_ends(
    name: str, version: int = 4, *, ours: Plain | None = None, theirs: Plain | None = None, suffix: str = ""
) -> Tunnel:
    """A child for what the two gateways themselves say to each other."""
    left, right = (f"{address}/{32 if version == 4 else 128}{suffix}" for address in OUTER[version])
    net = Net(left=(left,), right=(right,), ours=ours or {}, theirs=theirs or {})
    return Tunnel(name=name, outer=OUTER[version], nets=(net,))


def carried(pair: Pair, tunnel: Tunnel) -> tuple[int, int]:
    """Packets in and out as strongSwan counts them."""
    (theirs,) = pair.their_children(tunnel)
    return int(theirs["packets-in"]), int(theirs["packets-out"])


# --- transport mode ---


@kernel_only
@roles
@pytest.mark.parametrize("version", [4, 6])
def test_transport_mode_between_the_two_gateways(pair: Pair, initiator: str, version: int) -> None:
    tunnel = between_ends(f"transport-{version}", version, ours=TRANSPORT, theirs=TRANSPORT)
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (child,), (theirs,) = pair.gateway.children(tunnel.name), pair.their_children(tunnel)
    assert (child["mode"], theirs["mode"]) == ("transport", "TRANSPORT")
    left, right = OUTER[version]
    assert pair.left.ping(right, source=left, count=2)
    assert min(carried(pair, tunnel)) >= 2  # IPv6 neighbours look for each other, too
    assert connects(pair.left, pair.right, right, 7100)
    assert connects(pair.right, pair.left, left, 7101)
    for who in ("ours", "theirs"):
        (child,) = pair.renew(tunnel, initiator=who, net=tunnel.nets[0])["children"]
        assert child["mode"] == "transport"
        assert pair.left.ping(right, source=left)
    pair.down(tunnel, initiator=initiator)


@kernel_only
@roles
def test_transport_mode_for_one_protocol(pair: Pair, initiator: str) -> None:
    tunnel = between_ends("transport-tcp", ours=TRANSPORT, theirs=TRANSPORT, suffix="[tcp]")
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    left, right = OUTER[4]
    assert pair.left.ping(right, source=left)
    assert carried(pair, tunnel) == (0, 0)
    assert connects(pair.left, pair.right, right, 7100)
    assert min(carried(pair, tunnel)) > 0
    pair.down(tunnel)


@kernel_only
def test_transport_mode_that_strongswan_refuses(pair: Pair) -> None:
    tunnel = between_ends("transport-alone", ours=TRANSPORT)
    pair.load(tunnel)
    assert not pair.gateway.connect(tunnel.name)["ok"]
    attempt = pair.gateway.attempt(tunnel.name)
    assert attempt["cause"] == "mode"
    assert "tunnel mode" in attempt["reason"]
    until(lambda: not pair.their_children(tunnel), "strongSwan's half is deleted")
    assert not pair.gateway.ask("states")
    pair.down(tunnel)


@kernel_only
def test_strongswan_gets_a_tunnel_where_it_asks_for_transport_mode(pair: Pair) -> None:
    tunnel = between_ends("tunnel-instead", theirs=TRANSPORT)
    pair.load(tunnel)
    pair.up(tunnel, initiator="theirs")
    (child,), (theirs,) = pair.gateway.children(tunnel.name), pair.their_children(tunnel)
    assert (child["mode"], theirs["mode"]) == ("tunnel", "TUNNEL")
    left, right = OUTER[4]
    assert pair.left.ping(right, source=left, count=2)
    assert carried(pair, tunnel) == (2, 2)
    pair.down(tunnel)


# --- childless ---


@roles
def test_childless(pair: Pair, initiator: str) -> None:
    nets = Net(esp="aes128gcm16-x25519"), Net(name="v6", left=(INNER[6][0],), right=(INNER[6][1],))
    tunnel = Tunnel(name="childless", nets=nets, ours={"childless": True}, theirs={"childless": "force"})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    until(lambda: len(pair.gateway.children(tunnel.name)) == 2, "two children at our end")
    assert pair.pings(4)
    assert pair.pings(6)
    theirs = {child["name"]: child for child in pair.their_children(tunnel)}
    assert theirs[tunnel.child_name(nets[0])]["dh-group"] == "CURVE_25519"  # which IKE_AUTH cannot have
    assert len(pair.theirs(tunnel)) == 1
    pair.down(tunnel, initiator=initiator)


# --- several CHILD_SAs ---

PAIRS = [(left, right) for left in ("10.1.0.0/25", "10.1.0.128/25") for right in ("10.2.0.0/25", "10.2.0.128/25")]


def test_a_child_sa_for_each_pair_of_networks(pair: Pair) -> None:
    nets = tuple(dict.fromkeys(left for left, _ in PAIRS)), tuple(dict.fromkeys(right for _, right in PAIRS))
    pair.left.address("lo", "10.1.0.200/32")
    pair.right.address("lo", "10.2.0.200/32")
    tunnel = Tunnel(name="pairs", nets=(Net(left=nets[0], right=nets[1], ours={"single_pair": True}),))
    pair.load(tunnel)
    pair.up(tunnel, initiator="ours")
    for _ in ("made", "rekeyed"):
        children = until(lambda: _four(pair, tunnel), "four children at both ends")
        pairs = [(*one["local_selectors"], *one["remote_selectors"]) for one in children]
        assert sorted(pairs) == PAIRS
        for source in ("10.1.0.1", "10.1.0.200"):
            for target in ("10.2.0.1", "10.2.0.200"):
                assert pair.left.ping(target, source=source), (source, target)
        numbers = {one["id"] for one in children}
        assert (done := pair.gateway.rekey(tunnel.name, "net"))["ok"], done
        until(lambda numbers=numbers: not numbers & {one["id"] for one in pair.gateway.children()}, "four new ones")
    (status,) = pair.gateway.peer(tunnel.name)["children"]
    assert (status["name"], status["state"]) == ("net", "up")
    until(lambda: _four(pair, tunnel), "no more than four")
    pair.down(tunnel)


def _four(pair: Pair, tunnel: Tunnel) -> list[Plain]:
    children = pair.gateway.children(tunnel.name)
    return children if len(children) == len(pair.their_children(tunnel)) == 4 else []


@roles
def test_the_narrower_of_two_children_carries_its_packets_while_it_stands(pair: Pair, initiator: str) -> None:
    narrow = Net(name="narrow", left=("10.1.0.1/32",), right=("10.2.0.0/25",), esp="aes256gcm16")
    tunnel = Tunnel(name="nested", nets=(Net(), narrow))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    until(lambda: len(pair.their_children(tunnel)) == 2, "two children")
    until(lambda: len(pair.gateway.children(tunnel.name)) == 2, "two children at our end")

    def packets() -> dict[str, tuple[int, int]]:
        children = pair.their_children(tunnel)
        return {child["name"]: (int(child["packets-in"]), int(child["packets-out"])) for child in children}

    assert pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], count=2)
    assert packets() == {tunnel.child_name(tunnel.nets[0]): (0, 0), tunnel.child_name(narrow): (2, 2)}
    assert (done := pair.gateway.disconnect(tunnel.name, narrow.name))["ok"], done
    until(lambda: len(pair.their_children(tunnel)) == 1, "one child left")
    # The narrower one is down, and what is its own is dropped meanwhile.
    assert not pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=0.3)
    pair.down(tunnel)


def test_a_waiting_packet_is_told_first(pair: Pair) -> None:
    tunnel = Tunnel(name="trap", nets=(Net(ours={"start": "on-demand"}, theirs={"remote_ts": "10.1.0.0/16"}),))
    before = len(pair.charon.log())
    pair.load(tunnel)
    until(lambda: pair.gateway.ask("policies"), "a trap")
    until(
        lambda: pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=0.5), "a ping brings it up: the trap has a route"
    )
    assert pair.left.ping(HOSTS[4][1]), "and an address for who has none"
    (child,) = pair.gateway.children(tunnel.name)
    assert (child["local_selectors"], child["remote_selectors"]) == ([INNER[4][0]], [INNER[4][1]])
    told = pair.charon.log()[before:]
    # The ping's type and code stand for its ports (RFC 7296 3.13.1).
    assert f"{HOSTS[4][0]}/32[icmp/8] {INNER[4][0]}" in told.replace("(0)", ""), told
    pair.down(tunnel)


@kernel_only
@roles
def test_compression_is_declined_without_a_word(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(name="compressed", nets=(Net(theirs={"ipcomp": "yes"}),))
    before = len(pair.charon.log())
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings(size=1000)
    assert pair.charon.log()[before:].count("N(IPCOMP_SUP)") == (1 if initiator == "theirs" else 0)
    pair.down(tunnel)


# --- sequence numbers ---


@kernel_only
@roles
@pytest.mark.parametrize("window", [0, 32, 1024, 4096])
@pytest.mark.parametrize("esn", ["", "-esn"])
def test_sequence_numbers_and_windows(pair: Pair, initiator: str, esn: str, window: int) -> None:
    esp = f"aes128gcm16{esn}"
    # A kernel has no ESN without a window: our data plane makes one, strongSwan's has to be given it.
    settings = {"replay_window": str(max(window, 32) if esn else window)}
    tunnel = Tunnel(name=f"window-{window}", nets=(Net(esp=esp, ours={"replay_window": window}, theirs=settings),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (child,), (theirs,) = pair.gateway.children(tunnel.name), pair.their_children(tunnel)
    assert child["algorithms"] == esp
    assert ("esn" in theirs) is bool(esn)
    assert pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], count=3)
    assert carried(pair, tunnel) == (3, 3)
    pair.down(tunnel)


# --- shunts ---


def shunts(pair: Pair, **actions: str) -> None:
    """Lay shunts from our network to hosts of theirs, named by the host's last octet."""
    pair.gateway.apply(
        {
            "shunts": [
                {
                    "name": name,
                    "action": action,
                    "local_selectors": [INNER[4][0]],
                    "remote_selectors": [f"10.2.0.{name.removeprefix('host')}/32"],
                }
                for name, action in actions.items()
            ]
        }
    )


def test_shunts_win_over_the_child(pair: Pair) -> None:
    hosts = "10.2.0.1", "10.2.0.2", "10.2.0.3"
    pair.right.address("lo", *(f"{host}/32" for host in hosts[1:]))
    tunnel = Tunnel(name="shunted")
    pair.load(tunnel)
    pair.up(tunnel, initiator="ours")
    for count, host in enumerate(hosts, 1):
        assert pair.left.ping(host, source=HOSTS[4][0])
        assert carried(pair, tunnel) == (count, count)
    assert not pair.tap.plain()
    # From now on packets to one host are dropped; those to another leave in the clear, if a route takes them out.
    pair.left.route(f"{hosts[2]}/32", "via", OUTER[4][1])
    shunts(pair, host2="drop", host3="pass")
    assert pair.left.ping(hosts[0], source=HOSTS[4][0])
    assert not pair.left.ping(hosts[1], source=HOSTS[4][0], wait=0.3)
    assert not pair.tap.plain()
    pair.left.ping(hosts[2], source=HOSTS[4][0], wait=0.3)
    assert {str(target) for _, target in pair.tap.plain()} == {hosts[2]}
    assert carried(pair, tunnel)[0] == 4
    pair.load(tunnel)
    for host in hosts:
        assert pair.left.ping(host, source=HOSTS[4][0]), host
    assert carried(pair, tunnel)[0] == 7
    pair.down(tunnel)


# --- route-based ---


@pytest.fixture
def their_interface(pair: Pair) -> Iterator[None]:
    """strongSwan's end of what is routed."""
    pair.right.ip("link", "add", "theirs", "type", "xfrm", "if_id", "9")
    pair.right.ip("link", "set", "theirs", "up")
    for net in (INNER[4][0], INNER[6][0]):
        pair.right.route(net, "dev", "theirs")
    yield
    pair.right.ip("link", "delete", "theirs")


@kernel_only
@roles
@pytest.mark.requires("xfrm-interface")
def test_what_is_routed_into_the_interface_is_protected(pair: Pair, their_interface: None, initiator: str) -> None:
    every = ("0.0.0.0/0", "::/0")
    theirs = {"local_ts": "0.0.0.0/0,::/0", "remote_ts": "0.0.0.0/0,::/0", "if_id_in": "9", "if_id_out": "9"}
    tunnel = Tunnel(name="routed", nets=(Net(left=every, right=every, ours={"interface_id": 7}, theirs=theirs),))
    pair.load(tunnel)
    assert "ipsec7" in pair.left.ip("-br", "link")
    for net in (INNER[4][1], INNER[6][1]):
        pair.left.route(net, "dev", "ipsec7")
    pair.up(tunnel, initiator=initiator)
    assert pair.pings(4, size=1200)
    assert pair.pings(6)
    assert connects(pair.left, pair.right, HOSTS[4][1], 7200)
    assert min(carried(pair, tunnel)) > 4
    # What is not routed there is not protected, though the selectors hold it.
    assert pair.left.ping(OUTER[4][1], source=OUTER[4][0])
    pair.down(tunnel)
    assert not pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=0.3)
    assert not pair.tap.plain()
    pair.load()
    assert "ipsec7" not in pair.left.ip("-br", "link")
