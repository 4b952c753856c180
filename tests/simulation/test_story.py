"""Stories that hypothesis makes up: two gateways, a network that misbehaves, an administrator who changes things."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.ike.engine import Engine
from gateway.ike.plane import Action
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Start
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import parse_header
from gateway.wire.numbers import PayloadType
from tests.simulation.network import Host, Network, Weather, peer, psk, right_end

ENDS = st.sampled_from(["left", "right"])


class Story(RuleBasedStateMachine):
    """Both gateways want the tunnel always; whatever happens, a healed network ends with one tunnel."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.network = Network(seed)
        self.left = self.network.host("left", "192.0.2.1")
        self.right = self.network.host("right", "192.0.2.2")
        self.peers = {
            "left": peer("right", me="left.example", them="right.example", remote="192.0.2.2"),
            "right": right_end(start=Start.ALWAYS),
        }
        self.revision = 0
        for end in ("left", "right"):
            self.configure(end)

    def host(self, end: str) -> Host:
        return self.left if end == "left" else self.right

    def configure(self, end: str) -> None:
        self.revision += 1
        self.network.apply(self.host(end), Snapshot.build(self.revision, [self.peers[end]], [psk()]))

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.05, 0.3, 2.0, 20.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.network.run(seconds)

    @rule(loss=st.floats(0, 0.6), duplicate=st.floats(0, 0.5), jitter=st.floats(0, 2))
    def change_the_weather(self, loss: float, duplicate: float, jitter: float) -> None:
        self.network.weather = Weather(loss, duplicate, 0.02, jitter)

    @rule(seconds=st.sampled_from([1.0, 15.0, 100.0]))
    def cut_the_cable(self, seconds: float) -> None:
        self.network.cut = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
        self.network.run(seconds)
        self.network.cut = set()

    @rule(end=ENDS, child=st.sampled_from([None, "net"]))
    def rekey(self, end: str, child: str | None) -> None:
        host = self.host(end)
        self.network.perform(
            host, host.engine.rekey(next(iter(host.engine.core.snapshot.peers)), child, self.network.now)[1]
        )

    @rule(end=ENDS)
    def terminate(self, end: str) -> None:
        host = self.host(end)
        for sa in host.engine.ike_sas():
            self.network.perform(host, host.engine.terminate(sa.id, self.network.now))

    @rule(end=ENDS)
    def change_the_networks_and_back(self, end: str) -> None:
        wanted = self.peers[end]
        self.peers[end] = replace(wanted, children=())
        self.configure(end)
        self.network.run(0.5)
        self.peers[end] = wanted
        self.configure(end)

    @rule(end=ENDS)
    def crash_and_restart(self, end: str) -> None:
        host = self.host(end)
        random = host.engine.core.random
        host.plane.close()
        host.engine = Engine(host.plane, random, log_keys=True)
        host.engine.core.now = self.network.now
        self.configure(end)

    @rule(end=ENDS, times=st.integers(1, 3))
    def let_the_data_plane_refuse(self, end: str, times: int) -> None:
        for _ in range(times):
            self.host(end).plane.fail_next("the simulation says no")

    @invariant()
    def no_orphans(self) -> None:
        for host in (self.left, self.right) if hasattr(self, "network") else ():
            children = [child for sa in host.engine.ike_sas() for child in sa.children.values()]
            lingering = [child for _, child in host.engine.core.ownership.lingering.values()]
            wanted = {state.key for child in children + lingering for state in (child.inbound, child.outbound)}
            assert {state.key for state in host.plane.states()} == wanted
            # a live child is never without its policies; what stands in for one that is down drops
            laid = {policy.key for policy in host.plane.policies() if policy.action is Action.PROTECT}
            assert laid >= {policy.key for child in children for policy in child.policies}

    @invariant()
    def same_spis_mean_same_keys(self) -> None:
        if not hasattr(self, "network"):
            return
        keys = defaultdict(list)
        for host in (self.left, self.right):
            for sa in host.engine.ike_sas():
                if sa.state == Lifecycle.ESTABLISHED:
                    keys[sa.spi_i, sa.spi_r].append(sa.keys)
        assert all(made[0] == made[-1] for made in keys.values())

    @invariant()
    def a_message_id_is_used_once(self) -> None:
        seen = getattr(self, "seen", {})
        done = getattr(self, "checked", 0)
        carried = self.network.carried if hasattr(self, "network") else []
        for _, source, _, data in carried[done:]:
            if len(data) < 28:
                continue
            header = parse_header(data)
            if header.next_payload not in (PayloadType.SK, PayloadType.SKF):  # IKE_SA_INIT, or about an SA long gone
                continue
            name = (source, header.spi_i, header.spi_r, header.response, header.message_id)
            assert seen.setdefault(name, data) == data, "one message ID carried two messages"
        self.seen, self.checked = seen, len(carried)

    def teardown(self) -> None:
        if not hasattr(self, "network"):
            return
        self.network.weather, self.network.cut = Weather(), set()
        for host in (self.left, self.right):
            host.plane.fail_no_more()
        self.network.run(1500)
        self.no_orphans()
        for host in (self.left, self.right):
            assert all(policy.action is Action.PROTECT for policy in host.plane.policies())
        found = []
        for host in (self.left, self.right):
            sas = [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]
            assert len(sas) == 1, [sa.text for sa in sas]
            assert [child.name for child in sas[0].children.values()] == ["net"]
            found.append(sas[0])
        assert found[0].spi_i == found[1].spi_i
        mine, theirs = (next(iter(sa.children.values())) for sa in found)
        assert mine.outbound.encr_key == theirs.inbound.encr_key
        assert mine.inbound.encr_key == theirs.outbound.encr_key


Story.TestCase.settings = settings(
    derandomize=True,
    max_examples=60,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow],
)
TestStory = Story.TestCase
