"""A tunnel described once for both ends: as a peer of our gateway (left) and as a connection of strongSwan (right)."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.interop.tap import Tap
from tests.lab.appliance import Appliance, Plain, until
from tests.lab.charon import Charon, CharonError
from tests.lab.namespaces import Namespace

SECRET = "correct horse battery staple"
OUTER = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
INNER = {4: ("10.1.0.0/24", "10.2.0.0/24"), 6: ("fd01::/64", "fd02::/64")}
HOSTS = {4: ("10.1.0.1", "10.2.0.1"), 6: ("fd01::1", "fd02::1")}

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Net:
    """One child of a tunnel; `ours` and `theirs` are further settings of its two ends."""

    name: str = "net"
    left: tuple[str, ...] = (INNER[4][0],)
    right: tuple[str, ...] = (INNER[4][1],)
    esp: str = "aes128gcm16"
    ours: Settings = field(default_factory=dict)
    theirs: Settings = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """Two ends that fit each other; `ours` and `theirs` are further settings, or others, for one end alone.

    Each end has an identity of its own, so that many tunnels stand side by side between the same two addresses.
    """

    name: str
    ike: str = "aes128gcm16-prfsha256-x25519"
    left_id: str = ""
    right_id: str = ""
    outer: tuple[str, str] = OUTER[4]
    nets: tuple[Net, ...] = (Net(),)
    secret: str = SECRET
    their_secret: str = ""
    ppks: Mapping[str, str] = field(default_factory=dict)
    their_ppks: Mapping[str, str] = field(default_factory=dict)
    ours: Settings = field(default_factory=dict)
    theirs: Settings = field(default_factory=dict)

    def ids(self) -> tuple[str, str]:
        return self.left_id or f"{self.name}.left.lab", self.right_id or f"{self.name}.right.lab"

    def child_name(self, net: Net) -> str:
        """strongSwan finds a child by its name alone."""
        return f"{self.name}-{net.name}"

    def proposals(self) -> list[Plain]:
        """Our proposal objects."""
        ike = {"name": f"{self.name}-ike", "protocol": "ike", "suites": self.ike.split(", ")}
        esp = [
            {"name": f"{self.name}-{net.name}", "protocol": "esp", "suites": net.esp.split(", ")} for net in self.nets
        ]
        return [ike, *esp]

    def peer(self) -> Plain:
        """Our peer object."""
        children = [
            {
                "name": net.name,
                "local_selectors": list(net.left),
                "remote_selectors": list(net.right),
                "esp_proposals": [f"{self.name}-{net.name}"],
                "start": "passive",
                **net.ours,
            }
            for net in self.nets
        ]
        left, right = self.ids()
        return {
            "name": self.name,
            "local_id": left,
            "remote_id": right,
            "remote_addresses": [self.outer[1]],
            "ike_proposals": [f"{self.name}-ike"],
            "retransmit": {"tries": 6, "base": 0.5, "factor": 1.5},  # ten seconds: a busy machine is no dead peer
            "children": children,
            "ppks": [f"{self.name}-{number}" for number, _ in enumerate(self.ppks)],
            **self.ours,
        }

    def psk(self) -> Plain:
        """Our key for these two identities."""
        left, right = self.ids()
        return {"name": self.name, "secret": self.secret, "local_ids": [left], "remote_ids": [right]}

    def our_ppks(self) -> list[Plain]:
        """Our post-quantum keys, the first one to be offered; `ppks` and `their_ppks` are secrets by identity."""
        found = enumerate(self.ppks.items())
        return [{"name": f"{self.name}-{n}", "identity": identity, "secret": secret} for n, (identity, secret) in found]

    def their_psk(self) -> Plain:
        left, right = self.ids()
        return {"id-1": left, "id-2": right, "secret": self.their_secret or self.secret}

    def connection(self) -> Plain:
        """strongSwan's connection, as nested sections of swanctl.conf."""
        left, right = self.ids()
        children = {
            self.child_name(net): {
                "local_ts": ",".join(net.right),
                "remote_ts": ",".join(net.left),
                "esp_proposals": net.esp,
                "rekey_time": "0",  # of its own accord it begins none
                **net.theirs,
            }
            for net in self.nets
        }
        return {
            "version": "2",
            "local_addrs": self.outer[1],
            "remote_addrs": self.outer[0],
            "proposals": self.ike,
            "rekey_time": "0",
            "local": {"auth": "psk", "id": right},
            "remote": {"auth": "psk", "id": left},
            "children": children,
            **self.theirs,
        }


def text_of(sections: Mapping[str, Any], depth: int = 0) -> str:
    """Nested sections as swanctl.conf has them."""
    lines = []
    for name, value in sections.items():
        inner = text_of(value, depth + 1) + "  " * depth + "}" if isinstance(value, Mapping) else f'"{value}"'
        lines.append("  " * depth + (f"{name} {{\n{inner}\n" if isinstance(value, Mapping) else f"{name} = {inner}\n"))
    return "".join(lines)


@dataclass
class Pair:
    """Our gateway on the left, strongSwan on the right."""

    left: Namespace
    right: Namespace
    gateway: Appliance
    charon: Charon
    tap: Tap

    def load(self, *wanted: Tunnel, **ours: list[Plain]) -> None:
        """Make these the configuration of both ends; what stood before, and is another now, is deleted on both.

        `ours` are further parts of our document.
        """
        self.charon.load(
            text_of(
                {
                    "connections": {tunnel.name: tunnel.connection() for tunnel in wanted},
                    "secrets": {
                        **{f"ike-{tunnel.name}": tunnel.their_psk() for tunnel in wanted},
                        **{
                            f"ppk-{tunnel.name}-{number}": {"id": identity, "secret": secret}
                            for tunnel in wanted
                            for number, (identity, secret) in enumerate(tunnel.their_ppks.items())
                        },
                    },
                }
            )
        )
        self.gateway.apply(
            {
                "proposals": [one for tunnel in wanted for one in tunnel.proposals()],
                "peers": [tunnel.peer() for tunnel in wanted],
                "psks": [tunnel.psk() for tunnel in wanted],
                "ppks": [one for tunnel in wanted for one in tunnel.our_ppks()],
                **ours,
            },
            prune=True,
        )

    def up(self, tunnel: Tunnel, *, initiator: str, net: Net | None = None) -> None:
        """Bring a tunnel (or one net of it) up from one end, "ours" or "theirs"."""
        self.tap.plain()
        if initiator == "ours":
            done = self.gateway.connect(tunnel.name, net.name if net else None, wait=30)
            assert done["ok"], f"{done['text']}\n{self.gateway.tail()}\n{self.charon.tail(40)}"
            return
        for one in [net] if net else tunnel.nets:
            self.charon.initiate(tunnel.child_name(one), timeout=30)
        # We answered before charon could say so; but a further task of ours may still be under way.
        until(lambda: self.gateway.ike_sas(tunnel.name), f"{tunnel.name} is up at our end")

    def down(self, tunnel: Tunnel, *, initiator: str = "ours") -> None:
        """Take it down from one end, and see it gone at both; nothing may have left us in the clear meanwhile."""
        assert not self.tap.plain()
        if initiator == "ours":
            assert self.gateway.disconnect(tunnel.name)["ok"], self.gateway.tail()
        else:
            self.charon.terminate(tunnel.name)
        self.gone(tunnel)

    def gone(self, tunnel: Tunnel) -> None:
        until(lambda: not self.gateway.peer(tunnel.name)["ike_sas"], f"{tunnel.name} is gone at our end")
        until(lambda: not self.theirs(tunnel), f"{tunnel.name} is gone at strongSwan's end")

    def settled(self, tunnel: Tunnel) -> Plain | None:
        """Our one IKE SA, when both ends have it alone, with the same CHILD_SAs, and none of either is on its way out.

        Of a CHILD_SA that was rekeyed charon keeps the inbound state for some seconds, which does not count.
        """
        ours = [sa for sa in self.gateway.status()["ike_sas"] if sa["peer"] == tunnel.name]
        theirs = self.theirs(tunnel)
        if [sa["state"] for sa in ours] != ["established"] or [sa["state"] for sa in theirs] != ["ESTABLISHED"]:
            return None
        here = {(child["spi_in"], child["spi_out"]) for child in ours[0]["children"]}
        children = [child for child in theirs[0]["child-sas"].values() if child["state"] != "DELETED"]
        there = {(child["spi-out"], child["spi-in"]) for child in children if child["state"] == "INSTALLED"}
        same = ours[0]["spi_i"] == theirs[0]["initiator-spi"] and here == there and len(there) == len(children)
        return ours[0] if same else None

    def renew(self, tunnel: Tunnel, *, initiator: str, net: Net | None = None) -> Plain:
        """Rekey the IKE SA from one end, or the CHILD_SA of a net; our IKE SA once both ends are through with it.

        Neither end's word that it has another is enough: the old one may be on its way out still, and what a test does
        next would cross with that.
        """
        before = until(lambda: self.settled(tunnel), f"{tunnel.name} stands at both ends", seconds=30)
        assert before
        if initiator == "ours":
            done = self.gateway.rekey(tunnel.name, net.name if net else None, wait=30)
            assert done["ok"], f"{done['text']}\n{self.gateway.tail()}\n{self.charon.tail(40)}"
        elif net:
            self.charon.rekey(child=tunnel.child_name(net))
        else:
            self.charon.rekey(ike=tunnel.name)

        def numbers(sa: Plain) -> set[int]:
            return {child["id"] for child in sa["children"] if child["name"] == net.name} if net else {sa["id"]}

        def renewed() -> Plain | None:
            now = self.settled(tunnel)
            found = numbers(now) if now else set()
            return now if len(found) == len(numbers(before)) and not found & numbers(before) else None

        what = net.name if net else "IKE SA"
        try:
            after = until(renewed, f"another {what} of {tunnel.name} alone, at both ends", seconds=30)
        except AssertionError as failure:
            ends = f"ours: {self.gateway.ike_sas(tunnel.name)}\ntheirs: {self.theirs(tunnel)}"
            raise AssertionError(f"{failure}\n{ends}\n{self.gateway.tail(40)}\n{self.charon.tail(60)}") from None
        assert after
        return after

    def take_all_down(self) -> None:
        """As after a test that failed: what it left up goes at both ends, and the configuration stays."""
        if self.gateway.process is None or self.charon.process is None:
            return

        def nothing_stands() -> bool:
            for sa in self.charon.list_sas():
                with contextlib.suppress(CharonError):  # it went meanwhile; the next look tells
                    self.charon.request("terminate", {"ike-id": str(sa["uniqueid"]), "force": "yes", "timeout": "-1"})
            up = [peer["name"] for peer in self.gateway.status()["peers"] if peer["ike_sas"]]
            for name in up:
                self.gateway.disconnect(name, wait=1)
            return not up and not self.charon.list_sas()

        until(nothing_stands, "nothing stands at either end", seconds=30)
        self.tap.plain()

    def theirs(self, tunnel: Tunnel) -> list[Plain]:
        """strongSwan's IKE SAs of this tunnel."""
        return [sa for sa in self.charon.list_sas() if sa["name"] == tunnel.name]

    def their_children(self, tunnel: Tunnel) -> list[Plain]:
        return [
            child for sa in self.theirs(tunnel) for child in sa["child-sas"].values() if child["state"] == "INSTALLED"
        ]

    def pings(self, version: int = 4, *, count: int = 1, size: int = 56) -> bool:
        """Whether inner hosts hear each other, asked from both ends."""
        left, right = HOSTS[version]
        return self.left.ping(right, source=left, count=count, size=size) and self.right.ping(
            left, source=right, count=count, size=size
        )
