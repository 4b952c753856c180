"""Users behind IKE SAs, between real engines: refused, limited and cut off."""

from dataclasses import replace
from typing import Any

from gateway.ike.sa import Lifecycle
from gateway.policy.identities import Identity
from gateway.policy.peers import Child, Unique
from gateway.policy.pools import Pool
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from tests.simulation.network import UNIX_OFFSET, Host, Network, psk
from tests.simulation.test_virtual_addresses import GATE, OFFICE, addresses, device, failure, gate_peer, gateway, sas

ANNA = User("user1@people.example", sessions=1)
BERT = User("bert", identities=(Identity.parse("user2@people.example"),))


def configure(network: Network, gate: Host, *users: User, pool: Pool = OFFICE, **more: Any) -> None:
    number = network.random.getrandbits(30)
    network.apply(gate, Snapshot.build(number, [gate_peer(**more)], [psk()], pools=[pool], users=users))


def test_who_is_disabled_is_cut_off_at_once_and_kept_out() -> None:
    network = Network(1)
    gate = gateway(network)
    configure(network, gate, ANNA, BERT)
    anna, bert = device(network, 1), device(network, 2)
    network.run(1)
    assert len(sas(gate)) == 2
    configure(network, gate, ANNA, replace(BERT, enabled=False))
    network.run(1)
    assert [str(sa.remote_id) for sa in sas(gate)] == ["user1@people.example"]
    assert addresses(anna)
    assert not bert.plane.states()
    network.run(30)
    assert len(sas(gate)) == 1
    attempt = failure(gate)
    assert (attempt.cause, attempt.notify) == ("barred", 24)
    assert attempt.reason == "user2@people.example is the user bert, who is disabled"


def test_who_expires_is_cut_off_within_the_moment() -> None:
    network = Network(2)
    gate = gateway(network)
    unix = gate.engine.core.extensions.tickets.unix(network.now)
    configure(network, gate, replace(ANNA, expires=unix + 100), replace(BERT, expires=unix + 200))
    for number in (1, 2):
        device(network, number)
    network.run(99)
    assert len(sas(gate)) == 2
    network.run(2)
    assert [str(sa.remote_id) for sa in sas(gate)] == ["user2@people.example"]
    network.run(50)
    assert failure(gate).cause == "barred"
    network.run(50)
    assert sas(gate) == []


def test_who_expires_by_a_clock_that_was_set_is_cut_off_then() -> None:
    network = Network(2)
    gate = gateway(network)
    unix = gate.engine.core.extensions.tickets.unix(network.now)
    configure(network, gate, replace(ANNA, expires=unix + 1000), replace(BERT, expires=unix + 2000))
    for number in (1, 2):
        device(network, number)
    network.run(10)
    network.perform(gate, gate.engine.clock_set(UNIX_OFFSET + 1500, network.now))
    network.run(1)
    assert [str(sa.remote_id) for sa in sas(gate)] == ["user2@people.example"]
    network.perform(gate, gate.engine.clock_set(UNIX_OFFSET - 1500, network.now))
    network.run(2000)
    assert "user2@people.example" in {str(sa.remote_id) for sa in sas(gate)}
    network.run(1600)
    assert sas(gate) == []


def test_a_user_has_as_many_sessions_as_he_may() -> None:
    network = Network(3)
    gate = gateway(network, unique=Unique.NEVER)
    configure(network, gate, replace(ANNA, sessions=2), unique=Unique.NEVER)
    for number in (1, 2):
        device(network, number, "user1", unique=Unique.NEVER)
    network.run(1)
    third = device(network, 3, "user1", unique=Unique.NEVER)
    network.run(1)
    assert len(sas(gate)) == 2
    assert not third.plane.states()
    attempt = failure(gate)
    assert attempt.cause == "too-many-sessions"
    assert attempt.reason == "the user user1@people.example has 2 sessions, and may have 2"


def test_a_session_counts_by_whatever_he_proves_himself() -> None:
    network = Network(8)
    gate = gateway(network)
    configure(network, gate, replace(ANNA, identities=(Identity.parse("phone@people.example"),)))
    device(network, 1)
    network.run(1)
    other = device(network, 2, "phone")
    network.run(1)
    assert [str(sa.remote_id) for sa in sas(gate)] == ["user1@people.example"]
    assert not other.plane.states()
    assert failure(gate).cause == "too-many-sessions"


def test_coming_again_from_the_same_place_is_no_further_session() -> None:
    network = Network(4)
    gate = gateway(network, unique=Unique.NEVER)
    configure(network, gate, ANNA, unique=Unique.NEVER)
    one = device(network, 1, unique=Unique.NEVER, reauth_time=50.0)
    for _ in range(4):
        network.run(60)
        assert len(sas(one)) == 1
        assert addresses(one)
    assert len(sas(gate)) == 1


def test_one_person_has_one_address_by_whatever_he_proves_himself() -> None:
    network = Network(5)
    gate = gateway(network)
    phone = Identity.parse("phone@people.example")
    configure(network, gate, User("user1@people.example", identities=(phone,)))
    laptop = device(network, 1)
    network.run(1)
    given = addresses(laptop)
    network.perform(laptop, laptop.engine.stop(network.now))
    network.run(10)
    other = device(network, 2, "phone")
    network.run(1)
    assert addresses(other) == given


def test_a_rekeyed_session_is_cut_off_too() -> None:
    network = Network(6)
    gate = gateway(network)
    configure(network, gate, ANNA)
    one = device(network, 1)
    network.run(1)
    network.perform(one, one.engine.rekey("gate", None, network.now)[1])
    network.run(5)
    configure(network, gate, replace(ANNA, enabled=False))
    network.run(5)
    assert not [sa for sa in gate.engine.ike_sas() if sa.state is Lifecycle.ESTABLISHED]
    assert not gate.plane.states()


def test_each_group_has_its_own_networks() -> None:
    network = Network(7)
    gate = network.host("gate", GATE)
    base = gate_peer()
    narrow, wide = Selector.parse("10.1.0.0/28"), Selector.parse("10.1.0.0/24")
    children = (
        replace(base.children[0], name="guests", local=(narrow,)),
        replace(base.children[0], name="staff", local=(wide,), groups=("staff",)),
    )
    anna, bert = replace(ANNA, sessions=0, groups=("lab", "staff")), BERT

    def apply(*users: User, only: tuple[Child, ...] = children) -> None:
        peers = [replace(base, children=only)]
        number = network.random.getrandbits(30)
        network.apply(gate, Snapshot.build(number, peers, [psk()], pools=[OFFICE], users=users))

    def reached() -> dict[str, list[str]]:
        found = {}
        for sa in sas(gate):
            (made,) = sa.children.values()
            found[str(sa.remote_id).partition("@")[0]] = [one.text for one in made.local]
        return found

    apply(anna, bert)
    for number in (1, 2):
        device(network, number)
    network.run(1)
    assert reached() == {"user1": ["10.1.0.0/24"], "user2": ["10.1.0.0/28"]}
    apply(replace(anna, groups=("lab",)), bert)
    assert "user1" not in reached()
    network.run(60)
    assert reached() == {"user1": ["10.1.0.0/28"], "user2": ["10.1.0.0/28"]}
    apply(replace(anna, groups=("lab",)), bert, only=children[1:])
    network.run(60)
    assert not gate.plane.states()
    attempt = failure(gate)
    assert attempt.cause == "no-group"
    assert "in none of the groups that people has a child for: staff" in attempt.reason
