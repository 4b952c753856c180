"""One seed, one story: two gateways, a bad network, and everything that may go wrong, at moments that chance chooses.

All the time: nothing lies in a data plane that no CHILD_SA accounts for, no live CHILD_SA is without its policies, what
is sent on exists, and no message ID carries two messages. When the network heals: one IKE SA, each child exactly once,
the same at both ends. `python -m tests.simulation.exploration SEED` tells a story again, `make soak` as many as wanted.
"""

import random
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from gateway.ike.plane import Action, Direction
from gateway.ike.plane_events import Expire
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Child, Retransmission, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.message import parse_header
from gateway.wire.numbers import PayloadType, Protocol
from tests.simulation.network import IKE, Host, Network, Weather, peer, psk

PLAIN = (Proposal.parse("aes128gcm16", Protocol.ESP),)
WITH_KE = (Proposal.parse("aes128gcm16-x25519", Protocol.ESP),)
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
_CHUNK, _SHOWN = 100, 10
PATIENCE = 900.0
"""Seconds after healing in which all must be well: the longest retry, and what timeouts are still under way."""


class Story:
    """What this seed makes of two gateways."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.network = Network(seed, self.weather())
        self.log: list[str] = []
        self.checked = 0
        self.messages: dict[object, bytes] = {}
        self.settings = EngineSettings(retry_base=1.0, retry_limit=20.0)
        count, dpd, wait = self.chance.choice([1, 1, 2]), self.chance.choice([5.0, 30.0]), self.chance.uniform(0.3, 1.0)
        self.snapshots: dict[str, Snapshot] = {}
        self.hosts = [self.network.host("left", LEFT), self.network.host("right", RIGHT)]
        starts = self.chance.choice([(Start.ALWAYS, Start.ALWAYS), (Start.ALWAYS, Start.PASSIVE)])
        esp = self.chance.choice([PLAIN, WITH_KE])
        for me, them, remote, start in (
            ("left", "right", RIGHT, starts[0]),
            ("right", "left", LEFT, starts[1]),
        ):
            base = peer(them, me=f"{me}.example", them=f"{them}.example", remote=remote)
            lifetime = self.chance.choice([0.0, 15.0, 40.0])
            children = tuple(
                Child(f"net{number}", (net(me, number),), (net(them, number),), esp, start, lifetime)
                for number in range(count)
            )
            base = replace(
                base,
                children=children,
                proposals=IKE,
                dpd_delay=dpd,
                rekey_time=self.chance.choice([0.0, 25.0, 60.0]),
                reauth_time=self.chance.choice([0.0, 0.0, 80.0]),
                retransmission=Retransmission(tries=5, base=wait, factor=1.5),
            )
            self.snapshots[me] = Snapshot.build(1, [base], [psk()], self.settings)
        self.names = {f"net{number}" for number in range(count)}
        for host in self.hosts:
            self.network.apply(host, self.snapshots[host.name])

    def weather(self) -> Weather:
        bad = self.chance.random() < 0.6
        loss, duplicate = (self.chance.uniform(0, 0.4), self.chance.uniform(0, 0.3)) if bad else (0.0, 0.0)
        return Weather(loss, duplicate, self.chance.uniform(0.001, 0.1), self.chance.uniform(0, 1.5) if bad else 0.0)

    def tell(self) -> None:
        """The bad part, then the healing. Raises AssertionError."""
        acts = (
            self.rekey, self.rekey, self.both_rekey, self.both_rekey, self.delete_child, self.terminate, self.expire,
            self.cut, self.crash, self.refuse, self.change_weather,
        )  # fmt: skip
        for _ in range(self.chance.randrange(2, 7)):
            self.wait(self.chance.choice([0.0, 0.01, 0.1, 1.0, 5.0, 15.0]) * self.chance.random())
            self.chance.choice(acts)()
            self.check()
        self.heal()

    def wait(self, seconds: float) -> None:
        self.network.run(seconds)
        self.check()

    def somebody(self) -> Host:
        return self.chance.choice(self.hosts)

    def note(self, text: str) -> None:
        self.log.append(f"{self.network.now:.3f} {text}")

    # --- what happens ---

    def rekey(self, host: Host | None = None, child: str | None = "?") -> None:
        host = host or self.somebody()
        child = self.chance.choice([None, *sorted(self.names)]) if child == "?" else child
        self.note(f"{host.name} rekeys {child or 'the IKE SA'}")
        (name,) = host.engine.core.snapshot.peers
        self.network.perform(host, host.engine.rekey(name, child, self.network.now)[1])

    def both_rekey(self) -> None:
        """At once or nearly, the same thing or not."""
        first = self.chance.choice([None, *sorted(self.names)])
        second = first if self.chance.random() < 0.7 else self.chance.choice([None, *sorted(self.names)])
        self.rekey(self.hosts[0], first)
        self.wait(self.chance.choice([0.0, 0.01, 0.05, 0.3]))
        self.rekey(self.hosts[1], second)

    def delete_child(self) -> None:
        """An administrator takes a child down on one end or both, and up again a little later."""
        name = self.chance.choice(sorted(self.names))
        ends = self.chance.choice([self.hosts[:1], self.hosts[1:], self.hosts])
        self.note(f"{[host.name for host in ends]} take {name} down")
        for host in ends:
            (other,) = host.engine.core.snapshot.peers
            self.network.perform(host, host.engine.disconnect(other, name, self.network.now)[1])
        self.wait(self.chance.choice([0.0, 0.05, 1.0, 4.0]))
        for host in ends:
            (other,) = host.engine.core.snapshot.peers
            self.network.perform(host, host.engine.connect(other, name, self.network.now)[1])

    def terminate(self) -> None:
        host = self.somebody()
        self.note(f"{host.name} terminates its IKE SAs")
        for sa in host.engine.ike_sas():
            self.network.perform(host, host.engine.terminate(sa.id, self.network.now))

    def expire(self) -> None:
        host = self.somebody()
        children = live(host)
        if children:
            child, hard = self.chance.choice(children), self.chance.random() < 0.3
            self.note(f"{host.name}'s {child.name} expires, {'hard' if hard else 'soft'}")
            key = self.chance.choice([child.inbound.key, child.outbound.key])
            self.network.perform(host, host.engine.kernel(Expire(key, hard), self.network.now))

    def cut(self) -> None:
        both = {(LEFT, RIGHT), (RIGHT, LEFT)}
        self.network.cut = self.chance.choice([both, both, {(LEFT, RIGHT)}, {(RIGHT, LEFT)}])
        seconds = self.chance.choice([0.5, 3.0, 10.0, 60.0])
        self.note(f"cut {self.network.cut} for {seconds} s")
        self.wait(seconds)
        self.network.cut = set()

    def crash(self) -> None:
        host = self.somebody()
        self.note(f"{host.name} crashes")
        self.network.reboot(host, self.snapshots[host.name], same_secret=self.chance.random() < 0.5)

    def refuse(self) -> None:
        host, times = self.somebody(), self.chance.randrange(1, 4)
        self.note(f"{host.name}'s data plane refuses {times} times")
        for _ in range(times):
            self.chance.choice([host.plane.fail_next, host.plane.fail_next_allocation])("the story says no")

    def change_weather(self) -> None:
        self.network.weather = self.weather()
        self.note(f"{self.network.weather}")

    # --- what must hold ---

    def check(self) -> None:
        for host in self.hosts:
            children = live(host)
            lingering = [child for _, child in host.engine.core.ownership.lingering.values()]
            accounted = {state.key for child in children + lingering for state in (child.inbound, child.outbound)}
            states = {state.key for state in host.plane.states()}
            assert states == accounted, f"{host.name} has states {states}, its CHILD_SAs are {accounted}"
            policies = host.plane.policies()
            laid = {policy.key for policy in policies if policy.action is Action.PROTECT}
            for child in children:
                missing = [policy for policy in child.policies if policy.key not in laid]
                assert not missing, f"{host.name}: {child.name} lives without policies {missing}"
        self.check_messages()

    def check_messages(self) -> None:
        for _, source, _, data in self.network.carried[self.checked :]:
            if len(data) < 28:
                continue
            header = parse_header(data)
            if header.next_payload == PayloadType.SK:
                key = (source, header.spi_i, header.spi_r, header.response, header.message_id)
                assert self.messages.setdefault(key, data) == data, "one message ID carried two messages"
        self.checked = len(self.network.carried)

    def heal(self) -> None:
        self.note("healed")
        self.network.weather, self.network.cut = Weather(), set()
        for host in self.hosts:
            host.plane.fail_no_more()
        end = self.network.now + PATIENCE
        why = self.unwell()
        while why and self.network.now < end:
            self.wait(2.3)
            why = self.unwell()
        assert not why, why

    def unwell(self) -> str:
        """What keeps the two from being one tunnel, at this moment."""
        left, right = (self.one(host) for host in self.hosts)
        if isinstance(left, str) or isinstance(right, str):
            return left if isinstance(left, str) else str(right)
        if (left.spi_i, left.spi_r, left.keys) != (right.spi_i, right.spi_r, right.keys):
            return "the two ends have different IKE SAs"
        mirror = {child.name: child for child in right.children.values()}
        for child in left.children.values():
            other = mirror[child.name]
            if (child.spi_in, child.inbound.encr_key) != (other.spi_out, other.outbound.encr_key):
                return f"{child.name} is not the same at both ends"
            if (child.spi_out, child.outbound.encr_key) != (other.spi_in, other.inbound.encr_key):
                return f"{child.name} is not the same at both ends, the other way"
        return ""

    def one(self, host: Host) -> IkeSa | str:
        """The host's only IKE SA, with each child once, sent on as it should be; or why not."""
        sas = host.engine.ike_sas()
        if [sa.state for sa in sas] != [Lifecycle.ESTABLISHED]:
            return f"{host.name} has IKE SAs {[(sa.text, sa.state.value) for sa in sas]}"
        names = sorted(child.name for child in sas[0].children.values())
        if names != sorted(self.names):
            return f"{host.name} has children {names}"
        pinned = {policy.spi for policy in host.plane.policies() if policy.direction is Direction.OUT}
        if pinned != {child.spi_out for child in sas[0].children.values()}:
            return f"{host.name} sends on {pinned}"
        return sas[0]


def net(side: str, number: int) -> Selector:
    return Selector.parse(f"10.{1 if side == 'left' else 2}.{number}.0/24")


def live(host: Host) -> list[ChildSa]:
    return [child for sa in host.engine.ike_sas() for child in sa.children.values()]


def explore(story: Story) -> None:
    """Raises AssertionError, with the seed and what happened, where the story ends badly."""
    try:
        story.tell()
    except Exception as problem:
        told = "\n  ".join(story.log)
        raise AssertionError(f"network {story.seed}: {problem!r}\n  {told}") from problem


def failing(seeds: range) -> list[str]:
    """What went wrong in which of these networks."""
    found = []
    for seed in seeds:
        try:
            explore(Story(seed))
        except AssertionError as problem:
            found.append(str(problem))
    return found


def main(texts: list[str]) -> int:
    """Single seeds, or FIRST:LAST on all processors."""
    broken = told = 0
    for text in texts:
        first, _, last = text.partition(":")
        seeds = range(int(first), int(last) if last else int(first) + 1)
        chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
        with ProcessPoolExecutor() as pool:
            for problems in pool.map(failing, chunks):
                broken += len(problems)
                for problem in problems[: _SHOWN - told]:
                    told += 1
                    sys.stdout.write(problem + "\n")
        sys.stdout.write(f"networks {text}: {len(seeds)} explored, {broken} ended badly\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
