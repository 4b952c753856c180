"""EAP that a RADIUS server decides about, and what the outside can do wrong: be slow, be silent, answer too late."""

from dataclasses import dataclass, field, replace

import pytest

from gateway.ike.authentication.eap.gate import Proven
from gateway.ike.authentication.eap.radius import AskRadius, RadiusAccept, RadiusChallenge, RadiusReject
from gateway.ike.effects import Entered, Left
from gateway.ike.flow import NoAnswer
from gateway.policy.authentication import LocalAuth, Method, RemoteAuth
from gateway.policy.peers import Start
from gateway.policy.snapshot import Snapshot
from gateway.wire.payloads import EAP
from tests.ike.eap_lab import Server, step
from tests.simulation.eap_scenes import ANNA, PASSWORD, attempt, established, established_any, scene
from tests.simulation.network import Host, Network, Outside, Weather, peer, psk

RADIUS = (RemoteAuth(Method.EAP, eap_methods=("radius",)),)


@dataclass
class Radius(Outside):
    """A server at the edge: its EAP is our own, as any server's might be; `delay` seconds before each answer."""

    delay: float = 0.5
    silent: bool = False
    grant: str = ""
    addresses: tuple[str, ...] = ("10.3.0.77",)
    server: Server = field(default_factory=Server)
    asked: list[AskRadius] = field(default_factory=list)
    open: dict[int, object] = field(default_factory=dict)

    def answer(self, question: AskRadius) -> tuple[float, object]:
        self.asked.append(question)
        if self.silent:
            return self.delay, NoAnswer("one: no answer")
        packet = EAP.read(question.eap, 0, len(question.eap))
        if question.state is None:
            number = len(self.open)
            script = self.open[number] = self.server.conversation()
            first = step(script, None)
            assert isinstance(first, EAP)
            packet = replace(packet, identifier=first.identifier)
        else:
            number = question.state
            script = self.open[number]
        said = step(script, packet)
        if isinstance(said, EAP):
            return self.delay, RadiusChallenge(said.octets(), number)
        if isinstance(said, Proven):
            return self.delay, RadiusAccept(self.grant or said.identity, said.msk, self.addresses, ("staff",))
        return self.delay, RadiusReject(f"the RADIUS server one refused: {said.why}")


def radius_scene(network: Network, radius: Radius, auth: LocalAuth = PASSWORD) -> tuple[Host, Host]:
    a, b = scene(network, (auth,), RADIUS, users=())
    b.outside = radius
    return a, b


@pytest.mark.parametrize("delay", [0.0, 0.5, 5.0])
def test_a_server_lets_in_however_slow_it_is(delay):
    network = Network(1)
    radius = Radius(delay)
    a, b = radius_scene(network, radius)
    network.run(40)
    assert established(b).eap_identity == "anna" and str(established(b).remote_id) == "anna"
    assert established(a).children
    assert all(question.identity == b"anna" for question in radius.asked) and len(radius.asked) == 3
    assert radius.asked[0].address == "192.0.2.1:4500"
    assert not b.engine.core.extensions.asked


def test_repeats_while_the_server_thinks_are_not_asked_again():
    network = Network(2, Weather(duplicate=0.5))
    radius = Radius(4.0)
    _, b = radius_scene(network, radius)
    network.run(60)
    assert established(b) and len(radius.asked) == 3
    assert b.engine.core.counters["dropped: request again, while its answer is being sought"] > 0


def test_everything_else_goes_on_meanwhile():
    network = Network(3)
    radius = Radius(20.0)
    _, b = radius_scene(network, radius)
    c, _ = scene_of_another(network, b)
    network.run(5)
    assert established_any(c) and not any(sa.eap_identity for sa in b.engine.ike_sas())


def scene_of_another(network: Network, b: Host) -> tuple[Host, Host]:
    """A third gateway, with a key in common."""
    c = network.host("third", "192.0.2.3")
    ends = {"mine": "10.3.0.0/24", "theirs": "10.2.0.0/24"}
    network.apply(
        c,
        Snapshot.build(
            1, [peer("right", me="third.example", them="right.example", remote="192.0.2.2", **ends)], [psk()]
        ),
    )
    old = b.engine.core.snapshot
    ends = {"mine": "10.2.0.0/24", "theirs": "10.3.0.0/24", "start": Start.PASSIVE}
    third = peer("third", me="right.example", them="third.example", remote="192.0.2.3", **ends)
    network.apply(b, Snapshot.build(2, [*old.peers.values(), third], [psk()]))
    return c, b


def test_a_refusal_of_the_server_is_told():
    network = Network(4)
    _, b = radius_scene(network, Radius(), replace(PASSWORD, eap_password=b"no"))
    network.run(10)
    assert not established_any(b)
    first = b.engine.core.attempts.latest(9)[-1]
    assert first.cause == "eap-radius" and "gave a wrong password" in first.reason


def test_silent_servers_are_told():
    network = Network(5)
    a, b = radius_scene(network, Radius(silent=True))
    network.run(10)
    assert not established_any(b) and not established_any(a)
    assert attempt(b).cause == "radius-silent" and "one: no answer" in attempt(b).reason


def test_an_answer_that_never_comes_ends_at_the_deadline_and_is_withdrawn():
    network = Network(6)
    radius = Radius(1000.0)
    _, b = radius_scene(network, radius)
    network.run(32)
    assert radius.withdrawn == 1 and 1 not in b.engine.core.extensions.asked
    first = b.engine.core.attempts.latest(9)[-1]
    assert first.cause == "radius-silent" and "no answer in time" in first.reason


def test_an_answer_for_an_sa_that_is_gone_changes_nothing():
    network = Network(7)
    radius = Radius(10.0)
    a, b = radius_scene(network, radius)
    network.run(1)
    network.perform(a, a.engine.stop(network.now))
    network.perform(b, b.engine.stop(network.now))
    network.run(60)
    assert not b.engine.ike_sas() and radius.withdrawn == 1


def test_the_server_says_whose_name_comes_in():
    """With PEAP and TTLS the name outside may be anonymous; the server knows better."""
    network = Network(8)
    _, b = radius_scene(network, Radius(grant="anna@inner.example"))
    network.run(10)
    assert established(b).eap_identity == "anna@inner.example"
    guest = established(b).guest
    assert guest is not None and guest.addresses == ("10.3.0.77",) and guest.groups == ("staff",)


def test_a_gateway_does_not_prove_itself_by_a_servers_eap():
    network = Network(9)
    a, b = scene(network, (PASSWORD,), RADIUS, users=(ANNA,), alone=True)
    b.outside = Radius()
    network.run(5)
    assert not established_any(a)


class Blind(Radius):
    """Accepts whoever says a name."""

    def answer(self, question: AskRadius) -> tuple[float, object]:
        self.asked.append(question)
        return self.delay, RadiusAccept("anna", bytes(range(64)) if self.grant else b"")


@pytest.mark.parametrize("grant", ["", "with a key"])
def test_a_name_alone_proves_nothing(grant):
    """Without a method there is nothing but SK_pi to make AUTH of, which whoever made the IKE SA has."""
    network = Network(31)
    a, b = radius_scene(network, Blind(grant=grant))
    network.run(5)
    assert not established_any(b) and not a.protecting()
    failures = [one for one in b.engine.core.attempts.latest(9) if one.outcome == "failed"]
    assert failures and {one.cause for one in failures} == {"eap-radius"}
    assert "a name alone" in failures[0].reason


def test_silent_servers_lock_nobody_out():
    network, radius = Network(32), Radius(silent=True)
    a, b = radius_scene(network, radius)
    for _ in range(9):
        network.run(3)
        network.perform(a, a.engine.connect("right", None, network.now)[1])
    causes = {one.cause for one in b.engine.core.attempts.latest(99) if one.outcome == "failed"}
    assert len(radius.asked) > 6 and causes == {"radius-silent"}
    radius.silent = False
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(10)
    assert established(b).eap_identity == "anna"


# --- visits ---


def told(host: Host) -> list[tuple[str, str]]:
    """Who entered and left at this host, with the cause."""
    return [("entered", "") if isinstance(one, Entered) else ("left", one.cause) for one in host.visits]


def visited(seed: int, weather: Weather | None = None) -> tuple[Network, Host, Host]:
    network = Network(seed, weather)
    a, b = radius_scene(network, Radius())
    network.run(40 if weather else 10)
    return network, a, b


def test_who_comes_in_is_told_of_once_with_what_the_server_said():
    _, a, b = visited(41)
    (entered,) = b.visits
    assert isinstance(entered, Entered) and not a.visits
    visit = entered.visit
    assert (visit.user, visit.address, visit.ours, visit.nas) == (
        "anna",
        "192.0.2.1:4500",
        "192.0.2.2:4500",
        "right.example",
    )
    assert established(b).visit is visit


@pytest.mark.parametrize("ours", [True, False], ids=["we-rekey", "they-rekey"])
def test_a_rekey_goes_on_with_the_visit(ours):
    network, a, b = visited(42)
    before = established(b)
    for _ in range(3):
        host, name = (b, "left") if ours else (a, "right")
        network.perform(host, host.engine.rekey(name, None, network.now)[1])
        network.run(5)
    assert established(b) is not before and established(b).visit is before.visit
    assert told(b) == [("entered", "")]
    network.run(200)  # what was replaced lingers no longer
    assert told(b) == [("entered", "")]
    network.perform(a, a.engine.disconnect("right", None, network.now)[1])
    network.run(5)
    assert told(b) == [("entered", ""), ("left", "peer-error")]
    assert isinstance(b.visits[1], Left) and b.visits[1].why == "the peer deleted it"


@pytest.mark.parametrize("seed", range(43, 63))
def test_rekeys_that_collide_in_bad_weather_tell_of_one_visit_each(seed):
    network, a, b = visited(seed, Weather(loss=0.2, duplicate=0.2, jitter=0.5))
    for _ in range(4):
        for host, name in ((a, "right"), (b, "left")):
            network.perform(host, host.engine.rekey(name, None, network.now)[1])
        network.run(30)
    a.alive = False
    for sa in b.engine.ike_sas():
        network.perform(b, b.engine.terminate(sa.id, network.now))
    network.run(400)
    assert not b.engine.ike_sas()
    entered = [one.visit for one in b.visits if isinstance(one, Entered)]
    left = [one.visit for one in b.visits if isinstance(one, Left)]
    assert entered and sorted(map(id, entered)) == sorted(map(id, left))


def test_a_visit_is_ended_on_both_ends():
    network, a, b = visited(64)
    visit = b.visits[0].visit
    a.engine.core.held.add(("right", None))
    network.perform(b, b.engine.expel(visit, "time is up", network.now))
    assert not b.protecting(), "nothing goes through while the peer has not answered yet"
    network.run(5)
    assert not a.engine.ike_sas() and not b.engine.ike_sas()
    assert told(b) == [("entered", ""), ("left", "stopped")]
    assert isinstance(b.visits[1], Left) and b.visits[1].why == "time is up"
    assert b.engine.expel(visit, "again", network.now) == []


def test_a_silent_peer_has_left():
    network, a, b = visited(65)
    a.alive = False
    network.perform(b, b.engine.rekey("left", None, network.now)[1])
    network.run(200)
    assert told(b) == [("entered", ""), ("left", "timeout")]


def test_a_peer_that_dies_upon_its_rekey_has_left_though_the_old_ike_sa_lingers():
    network, a, b = visited(67)
    network.perform(a, a.engine.rekey("right", None, network.now)[1])
    while len(b.engine.ike_sas()) < 2:
        network.run(0.001)
    a.alive = False
    visit = b.visits[0].visit
    old = next(sa for sa in b.engine.ike_sas() if sa.replaced_by is not None)
    assert b.engine.of_visit(visit) == [old.replaced_by]
    network.perform(b, b.engine.expel(visit, "time is up", network.now))
    network.run(200)
    assert not b.engine.ike_sas() and told(b) == [("entered", ""), ("left", "stopped")]


def test_who_is_refused_never_entered():
    network = Network(66)
    _, b = radius_scene(network, Radius(), replace(PASSWORD, eap_password=b"no"))
    network.run(10)
    assert b.visits == []
