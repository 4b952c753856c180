"""What the status says in every explored story: "up" only where a CHILD_SA carries both ways, and else a sentence why.

Beyond the stories of `exploration`, somebody takes states away from the data planes here.
"""

import os

import pytest

from gateway.ike.plane import Action, Direction
from gateway.ike.plane_events import Disturbed, EventsLost
from gateway.ike.sa import ChildSa, Lifecycle
from gateway.service.observe import Observer
from gateway.service.status import TunnelState, WantedChildStatus
from tests.simulation.exploration import Story, explore, live
from tests.simulation.network import Host

STORIES = max(20, int(os.environ.get("NETWORKS", "2000")) // 10)
CHUNK = 20
LOOK = 1.6
"""Seconds: the data plane is read once in one, and here the status twice."""
BOUND = 2.0
"""Seconds beyond an interval of liveness checks and three transmissions: what was under way before comes first."""


class Watched(Story):
    """A story in which the status of both ends is read at every step."""

    def __init__(self, seed: int) -> None:
        self.observers: dict[int, Observer] = {}
        self.since: dict[tuple[str, str, str, int], float] = {}
        self.ups = self.downs = 0
        super().__init__(seed)

    def expire(self) -> None:
        """Half of the time the states are not expired but removed by somebody."""
        host = self.somebody()
        if self.chance.random() < 0.5 or not (children := live(host)):
            super().expire()
            return
        child = self.chance.choice(children)
        keys = self.chance.choice([[child.inbound.key], [child.outbound.key], [child.inbound.key, child.outbound.key]])
        there = {state.key for state in host.plane.states()}
        self.note(f"somebody removes {child.name}'s states at {host.name}")
        host.plane.take_away([key for key in keys if key in there])
        self.wait(self.chance.choice([0.0, 4.0]))
        event = self.chance.choice([Disturbed(), EventsLost()])
        self.network.perform(host, host.engine.kernel(event, self.network.now))

    def crash(self) -> None:
        """Half of the time it stays dead for a while."""
        host = self.somebody()
        if self.chance.random() < 0.5:
            self.note(f"{host.name} is dead")
            host.alive = False
            self.wait(60.0)
            self.note(f"{host.name} comes back")
        else:
            self.note(f"{host.name} crashes")
        self.network.reboot(host, self.snapshots[host.name], same_secret=self.chance.random() < 0.5)

    def wait(self, seconds: float) -> None:
        """In steps small enough to see what the status says in between."""
        end = self.network.now + seconds
        while self.network.now < end:
            self.network.run(min(0.5, end - self.network.now))
            self.check()

    def check(self) -> None:
        for host, other in (self.hosts, self.hosts[::-1]):
            if not host.alive:
                continue
            observer = self.observers.get(id(host.engine))
            if observer is None:
                observer = Observer(host.engine, host.plane, lambda: self.network.now, lambda: 0.0)
                self.observers[id(host.engine)] = observer
            (peer,) = observer.status((), ()).peers
            for child in peer.children:
                self.check_child(host, other, child)
            if peer.state is TunnelState.UP:
                assert any(child.state is TunnelState.UP for child in peer.children), peer
            else:
                assert peer.reason, f"{host.name} is {peer.state} and does not say why"

    def check_child(self, host: Host, other: Host, child: WantedChildStatus) -> None:
        made = [one for one in standing(host) if one.name == child.name]
        carrying = [one for one in made if carries(host, one)]
        if child.state is not TunnelState.UP:
            self.downs += 1
            assert child.reason, f"{host.name}: {child.name} is {child.state} and does not say why"
            self.since = {key: at for key, at in self.since.items() if key[:2] != (host.name, child.name)}
            told = "answer" in child.reason or "data plane" in child.reason
            assert not carrying or told, f"{host.name}: {child.name} carries and is {child}"
            return
        self.ups += 1
        there = {(state.spi, state.encr_key) for state in other.plane.states()}
        company = other.alive and any((one.spi_out, one.outbound.encr_key) in there for one in carrying)
        (config,) = host.engine.core.snapshot.peers.values()
        patience = config.retransmission
        waits = sum(patience.wait(turn, 1.0) for turn in (1, 2))
        for wrong, what, due in (
            (not carrying, "its states are not all here", LOOK),
            (not company, "nobody is at the other end", config.dpd_delay + waits + BOUND),
        ):
            key = host.name, child.name, what, id(host.engine)
            if not wrong:
                self.since.pop(key, None)
                continue
            lasts = self.network.now - self.since.setdefault(key, self.network.now)
            assert lasts <= due, f"{host.name} says for {lasts:.1f} s that {child.name} is up, and {what}"


def standing(host: Host) -> list[ChildSa]:
    able = (Lifecycle.ESTABLISHED, Lifecycle.REKEYED)
    return [child for sa in host.engine.ike_sas() if sa.state in able for child in sa.children.values()]


def carries(host: Host, child: ChildSa) -> bool:
    """Its states lie there both ways, and its policies with them."""
    there = {state.key for state in host.plane.states()}
    laid = {policy.key for policy in host.plane.policies() if policy.action is Action.PROTECT}
    sends = any(policy.direction is Direction.OUT for policy in child.policies)
    return sends and {child.inbound.key, child.outbound.key} <= there and {one.key for one in child.policies} <= laid


@pytest.mark.parametrize("first", range(0, STORIES, CHUNK))
def test_the_status_tells_the_truth_all_the_time(first: int) -> None:
    ups = downs = 0
    for seed in range(first, min(first + CHUNK, STORIES)):
        story = Watched(seed)
        explore(story)
        ups, downs = ups + story.ups, downs + story.downs
    assert min(ups, downs) > 100, "both were seen"
