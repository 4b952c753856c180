"""Two gateways that prove themselves by signatures, with one authority or several."""

from dataclasses import replace
from typing import Any

from gateway.ike.attempts import Attempt
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth
from gateway.policy.peers import Peer, Start
from gateway.policy.snapshot import Snapshot
from tests.pki import NOW, Issued, issue, private, root
from tests.simulation.network import Host, Network, Weather, peer, psk

ROOT = root()
CERTIFICATE, KEY = Method.CERTIFICATE, Method.PUBLIC_KEY


class Pair:
    """`a` calls `b`; each proves itself by its method and trusts what it is told to."""

    def __init__(
        self,
        ours: Issued | None = None,
        theirs: Issued | None = None,
        *,
        methods: tuple[Method, Method] = (CERTIFICATE, CERTIFICATE),
        names: tuple[str, str] = ("left.example", "right.example"),
        trusted: tuple[Authority, ...] | None = None,
        scheme: str = "",
        remote: dict[str, Any] | None = None,
        both: dict[str, Any] | None = None,
        seed: int = 1,
    ) -> None:
        self.network = Network(seed)
        self.a, self.b = self.network.host("left", "192.0.2.1"), self.network.host("right", "192.0.2.2")
        for host in (self.a, self.b):
            host.engine.core.extensions.tickets.unix_offset = NOW - self.network.now
        self.ours = ours or issue("O=Lab, CN=left", ROOT, f"dns:{names[0]}", key=private("p256", 1))
        self.theirs = theirs or issue("O=Lab, CN=right", ROOT, f"dns:{names[1]}", key=private("p256", 2))
        self.trusted = (ROOT.authority(),) if trusted is None else trusted
        left, right = methods
        more = both or {}
        self.left = replace(
            peer("right", me=names[0], them=names[1], remote="192.0.2.2"),
            local_auth=(LocalAuth(left, "own", scheme=scheme),),
            remote_auth=(RemoteAuth(right, public_keys=(self.theirs.spki,)),),
            **more,
        )
        self.right = replace(
            peer("left", me=names[1], them=names[0], remote="192.0.2.1", mine="10.2.0.0/24", theirs="10.1.0.0/24"),
            local_auth=(LocalAuth(right, "own", scheme=scheme),),
            remote_auth=(replace(RemoteAuth(left, public_keys=(self.ours.spki,)), **(remote or {})),),
            **more,
        )
        self.right = replace(self.right, children=(replace(self.right.children[0], start=Start.PASSIVE),))

    def credential(self, one: Issued, method: Method) -> Credential:
        made = one.credential()
        return replace(made, chain=()) if method is KEY else made

    def apply(self, host: Host, config: Peer, own: Credential, trusted: tuple[Authority, ...] | None = None) -> None:
        authorities = self.trusted if trusted is None else trusted
        snapshot = Snapshot.build(1, [config], [psk()], credentials=[own], authorities=authorities)
        self.network.apply(host, snapshot)

    def run(self, seconds: float = 2) -> "Pair":
        self.apply(self.b, self.right, self.credential(self.theirs, self.right.local_auth[0].method))
        self.apply(self.a, self.left, self.credential(self.ours, self.left.local_auth[0].method))
        self.network.run(seconds)
        return self

    def come_back(self) -> None:
        """Nobody hears the other until both have given up; then `a` comes back by its ticket."""
        self.network.weather = Weather(loss=1.0)
        self.network.run(200)
        self.network.weather = Weather()
        self.network.run(300)
        assert self.stands
        assert self.b.engine.core.counters["resumed"] == 1

    @property
    def stands(self) -> bool:
        return all(
            (sa := host.engine.core.established(name)) is not None and bool(sa.children)
            for host, name in ((self.a, "right"), (self.b, "left"))
        )

    def attempt(self, host: Host) -> Attempt:
        """The host's first negotiation."""
        return host.engine.core.attempts.latest(99)[-1]


def left(by: Issued = ROOT, *names: str, subject: str = "O=Lab, CN=left", **more: Any) -> Issued:
    return issue(subject, by, *(names or ("dns:left.example",)), **{"key": private("p256", 1), **more})


def right(by: Issued = ROOT, *names: str, **more: Any) -> Issued:
    return issue("O=Lab, CN=right", by, *(names or ("dns:right.example",)), **{"key": private("p256", 2), **more})
