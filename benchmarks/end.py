"""One end of the handshake benchmarks: engine, runner and journal as in production.

`python -m benchmarks.end responder|initiator COUNT PROPOSAL PLANE [KEYS]`, PLANE the name of a data plane. With KEYS, a
folder of `benchmarks.signed`, both ends prove themselves by certificates; with the word `mschapv2` the initiators are
users with a password. Commands come as JSON lines on the standard
input, one answer each on the standard output; the end of the input ends the process.
"""

import asyncio
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.crypto.signature_keys import Private
from gateway.crypto.signatures import PrivateKey
from gateway.dataplane.choose import open_driver
from gateway.ike.engine import Engine
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth, Revocation
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk, Start, Unique
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.policy.users import User
from gateway.service.journal import Journal, Record
from gateway.service.memory import tidy
from gateway.service.runner import Runner
from gateway.wire.numbers import Protocol

SECRET = "only for this benchmark"
RESPONDER = "192.0.2.2"
NETS, CLIENTS = "10.2.0.0/16", "172.16.0.0/12"
IKE, HYBRID, ESP = "aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-x25519-ke1_mlkem768", "aes256gcm16"
_PATIENCE = 60.0  # seconds for one command
_DELETES = 0.2  # seconds after the last rekey until what it replaced is deleted


def client_net(number: int) -> str:
    """The one address behind initiator `number`."""
    return f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32"


def _peer(names: tuple[str, str, str], nets: tuple[str, str], address: tuple[str, ...], proposal: str) -> Peer:
    """A peer without liveness checks: what is measured is the handshake."""
    name, theirs, ours = names
    local, remote = nets
    esp = (Proposal.parse(ESP, Protocol.ESP),)
    child = Child("net", (Selector.parse(local),), (Selector.parse(remote),), esp, Start.PASSIVE)
    ike = (Proposal.parse(proposal, Protocol.IKE),)
    pattern, identity = IdentityPattern.parse(theirs), Identity.parse(ours)
    return Peer(name, pattern, ike, (child,), identity, remote_addresses=address, dpd_delay=0.0)


def configuration(role: str, count: int, proposal: str = IKE) -> Snapshot:
    """The responder knows one wildcard peer; the initiator is `count` clients, each with its identity and address."""
    if role == "responder":
        peers = [_peer(("clients", "*.example", "gw.example"), (NETS, CLIENTS), (), proposal)]
    else:
        peers = [
            _peer((f"c{n}", "gw.example", f"c{n}.example"), (client_net(n), NETS), (RESPONDER,), proposal)
            for n in range(count)
        ]
    return Snapshot.build(1, peers, [Psk("all", SECRET.encode())], EngineSettings(keepalive=0.0))


PASSWORDS = Path("mschapv2")
"""In place of a folder of keys."""


def by_password(role: str, snapshot: Snapshot, count: int) -> Snapshot:
    """The same, with EAP-MSCHAPv2 in place of the initiators' key."""
    peers, password = list(snapshot.peers.values()), SECRET.encode()
    if role == "responder":
        anybody = {"remote_auth": (RemoteAuth(Method.EAP),), "remote_id": IdentityPattern.parse("%any")}
        peers = [replace(peer, **anybody) for peer in peers]  # type: ignore[arg-type]
    else:
        proofs = [LocalAuth(Method.EAP, eap_identity=peer.name, eap_password=password) for peer in peers]
        peers = [replace(peer, local_auth=(proof,)) for peer, proof in zip(peers, proofs, strict=True)]
    users = [User(f"c{number}", password) for number in range(count)]
    return Snapshot.build(1, peers, snapshot.psks, snapshot.settings, users=users)


def signed(role: str, snapshot: Snapshot, keys: Path) -> Snapshot:
    """The same, proven by certificates: one for all clients, which is why none of them takes another's place."""
    key = load_pem_private_key((keys / f"{role}.key").read_bytes(), None)
    own = Credential("own", PrivateKey(cast(Private, key)), ((keys / f"{role}.der").read_bytes(),))
    one, authority = Identity.parse("c.example"), Authority("lab", (keys / "root.der").read_bytes())
    auth = {
        "local_auth": (LocalAuth(Method.CERTIFICATE, "own"),),
        "remote_auth": (RemoteAuth(Method.CERTIFICATE, revocation=Revocation.OFF),),
        "unique": Unique.NEVER,
        **({"remote_id": IdentityPattern.parse("c.example")} if role == "responder" else {"local_id": one}),
    }
    peers = [replace(peer, **auth) for peer in snapshot.peers.values()]  # type: ignore[arg-type]
    return Snapshot.build(1, peers, [], snapshot.settings, credentials=[own], authorities=[authority])


ENDS = frozenset(
    {"child-sa.installed", "child-sa.rekeyed", "ike-sa.rekeyed", "ike-sa.closed", "ike-sa.failed", "exchange.failed"}
)


class WatchedJournal(Journal):
    """Tells at once when something ends that a command began."""

    watch: Callable[[str, str | None], None] | None = None

    def write(self, at: float, kind: str, text: str, peer: str | None = None, **data: Any) -> Record:
        record = super().write(at, kind, text, peer, **data)
        if self.watch and kind in ENDS:
            self.watch(kind, peer)
        return record


class End:
    """An engine with its runner, and the commands of the benchmark."""

    def __init__(self, role: str, count: int, proposal: str, name: str, keys: Path | None = None) -> None:
        self.journal = WatchedJournal()
        self.lags: list[float] = []
        plane = open_driver(name)
        self.engine = Engine(plane, os.urandom, unix_offset=time.time() - time.monotonic())
        self.runner = Runner(self.engine, (500, 4500), plane, self.journal, None)
        self.snapshot = configuration(role, count, proposal)
        if keys is not None:
            made = by_password(role, self.snapshot, count) if keys == PASSWORDS else signed(role, self.snapshot, keys)
            self.snapshot = made
        self._noting: asyncio.Task[None] | None = None

    def open(self) -> str:
        problem = self.runner.open()
        self.runner.apply(self.snapshot)
        return problem

    def _connect(self, number: int) -> None:
        _, effects = self.engine.connect(f"c{number}", None, self.runner.clock())
        self.runner.perform(effects)

    def _rekey(self, number: int, child: str | None) -> None:
        _, effects = self.engine.rekey(f"c{number}", child, self.runner.clock())
        self.runner.perform(effects)

    async def connect(self, first: int, count: int, at_once: int, end: str = "child-sa.installed") -> dict[str, object]:
        """Bring up that many clients, `at_once` of them at a time; `end` is the event that each should end with."""
        return await self._for_each(self._connect, (first, count, at_once), end, {"ike-sa.failed", "exchange.failed"})

    async def rekey(self, first: int, count: int, at_once: int, end: str) -> dict[str, object]:
        """Rekey the IKE SAs or the CHILD_SAs of that many clients, whichever `end` tells of."""
        child = "net" if end == "child-sa.rekeyed" else None
        begin = partial(self._rekey, child=child)
        answer = await self._for_each(begin, (first, count, at_once), end, {"exchange.failed"})
        await asyncio.sleep(_DELETES)
        return answer

    async def delete(self, first: int, count: int, at_once: int) -> dict[str, object]:
        """Take that many clients down."""
        return await self._for_each(self._disconnect, (first, count, at_once), "ike-sa.closed", set())

    def _disconnect(self, number: int) -> None:
        _, effects = self.engine.disconnect(f"c{number}", None, self.runner.clock())
        self.runner.perform(effects)

    async def note_lag(self) -> None:
        """Note how much later than it should the event loop comes back, a hundred times a second."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            self.lags.append(loop.time() - due)

    async def lag(self) -> dict[str, object]:
        """What was noted since this was asked last, in seconds; from the first time on it is noted."""
        if self._noting is None:
            self._noting = asyncio.get_running_loop().create_task(self.note_lag())
        found, self.lags = self.lags, []
        return {"lags": found}

    async def _for_each(
        self, begin: Callable[[int], None], which: tuple[int, int, int], end: str, failures: set[str]
    ) -> dict[str, object]:
        """Begin something with each client, so many at once; how long it took, and how often it came to its end."""
        first, count, at_once = which
        waiting: Iterator[int] = iter(range(first, first + count))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended = dict.fromkeys({end, *failures}, 0)

        def next_one(kind: str, _: str | None) -> None:
            if kind not in ended:
                return
            ended[kind] += 1
            number = next(waiting, None)
            if number is not None:
                asyncio.get_running_loop().call_soon(begin, number)
            elif sum(ended.values()) == count and not done.done():
                done.set_result(None)

        self.journal.watch = next_one
        started = time.perf_counter()
        for number in list(itertools.islice(waiting, at_once)):
            begin(number)
        await asyncio.wait_for(done, _PATIENCE)
        self.journal.watch = None
        return {"seconds": time.perf_counter() - started, "ended": ended[end]}

    async def latency(self, first: int, count: int) -> dict[str, object]:
        """Seconds from the command to the installed child, one client after the other on an idle gateway."""
        took = []
        for number in range(first, first + count):
            await asyncio.sleep(0.02)
            took.append((await self.connect(number, 1, 1))["seconds"])
        return {"took": took}

    async def settle(self) -> dict[str, object]:
        """Collect what is garbage, so that memory can be read."""
        gc.collect()
        return {"sas": len(self.engine.ike_sas()), "counters": dict(self.engine.core.counters)}


async def serve(role: str, count: int, proposal: str, plane: str, keys: str = "") -> None:
    end = End(role, count, proposal, plane, Path(keys) if keys else None)
    problem = end.open()
    tidy()
    print(json.dumps({"problem": problem}), flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    commands = {name: getattr(end, name) for name in ("connect", "rekey", "delete", "latency", "settle", "lag")}
    while line := await reader.readline():
        name, *words = json.loads(line)
        try:
            answer = await commands[name](*words)
        except TimeoutError:
            answer = {"problem": f"{name} took longer than {_PATIENCE:g} s; {dict(end.engine.core.counters)}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
