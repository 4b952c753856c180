"""Access profiles between real engines: how far each user gets, and what an edit does to who is in."""

from dataclasses import replace
from typing import Any

from gateway.ike.plane import AddressRules
from gateway.ike.plane_events import RulesLost
from gateway.policy.access import AccessProfile
from gateway.policy.peers import Peer
from gateway.policy.pools import Pool
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.service.observe import Observer
from gateway.wire.numbers import CfgAttribute, Protocol
from tests.simulation.kinds import nets
from tests.simulation.network import ESP, Host, Network, psk
from tests.simulation.test_virtual_addresses import (
    OFFICE,
    device,
    device_peer,
    failure,
    gate_peer,
    gateway,
    sas,
    told_to,
)

WEB = AccessProfile("web", nets("10.1.0.0/28", "10.1.0.80/32[tcp/443]"), groups=("staff",))
ANNA = User("user1@people.example", groups=("lab", "staff"))
BERT = User("user2@people.example")


def configure(
    network: Network,
    gate: Host,
    *profiles: AccessProfile,
    users: tuple[User, ...] = (ANNA, BERT),
    pools: tuple[Pool, ...] = (),
    people: Peer | None = None,
) -> None:
    number = network.random.getrandbits(30)
    more: dict[str, Any] = {"pools": (OFFICE, *pools), "users": users, "access_profiles": profiles}
    network.apply(gate, Snapshot.build(number, [people or gate_peer()], [psk()], **more))


def one_in(seed: int) -> tuple[Network, Host, Host]:
    """A gateway with the profile of the web, and anna's device, which is in."""
    network = Network(seed)
    gate = gateway(network)
    configure(network, gate, WEB)
    anna = device(network, 1)
    network.run(1)
    assert reached(gate) == {"user1": ["10.1.0.0/28", "10.1.0.80/32"]}
    return network, gate, anna


def without_pool(seed: int, profile: AccessProfile) -> tuple[Network, Host]:
    """A gateway whose people bring addresses of their own, and anna's device, which calls."""
    network = Network(seed)
    gate = gateway(network)
    child = replace(gate_peer().children[0], remote=nets("10.50.0.0/24"))
    configure(network, gate, profile, people=replace(gate_peer(), children=(child,), pools=()))
    host = network.host("device1", "198.51.0.2")
    base = device_peer("user1")
    mine = replace(base, virtual_ip=False, children=(replace(base.children[0], local=child.remote),))
    network.apply(host, Snapshot.build(1, [mine], [psk()]))
    network.run(3)
    return network, gate


def reached(gate: Host) -> dict[str, list[str]]:
    found = {}
    for sa in sas(gate):
        found[str(sa.remote_id).partition("@")[0]] = [one.text for made in sa.children.values() for one in made.local]
    return found


def held(host: Host) -> tuple[str, ...]:
    """The addresses that a device was given, its child's own or not."""
    (sa,) = sas(host)
    return sa.virtual


def rules(gate: Host) -> dict[str, AddressRules]:
    return {one.address: one for one in gate.plane.rules()}


def test_a_profile_narrows_the_networks_and_lays_rules_for_the_address() -> None:
    network = Network(1)
    gate = gateway(network)
    configure(network, gate, WEB)
    anna, _ = device(network, 1), device(network, 2)
    network.run(1)
    assert reached(gate) == {"user1": ["10.1.0.0/28", "10.1.0.80/32"], "user2": ["10.1.0.0/24", "fd01::/64"]}
    four, six = held(anna)
    assert rules(gate) == {one: AddressRules(one, WEB.networks, strict=True) for one in (four, six)}
    network.perform(anna, anna.engine.stop(network.now))
    network.run(10)
    assert rules(gate) == {}


def test_a_full_tunnel_carries_all_and_lets_in_what_is_allowed() -> None:
    network = Network(2)
    gate = gateway(network)
    everywhere = AccessProfile("everywhere", full_tunnel=True, masquerade=True)
    some = AccessProfile("some", nets("10.1.0.0/28"), full_tunnel=True)
    users = (replace(ANNA, access_profile="everywhere"), replace(BERT, access_profile="some"))
    child = replace(gate_peer().children[0], local=nets("0.0.0.0/0", "::/0"))
    configure(network, gate, everywhere, some, users=users, people=replace(gate_peer(), children=(child,)))
    anna, bert = device(network, 1), device(network, 2)
    network.run(1)
    assert reached(gate) == {"user1": ["0.0.0.0/0", "::/0"], "user2": ["0.0.0.0/0", "::/0"]}
    assert rules(gate)[held(anna)[0]] == AddressRules(held(anna)[0], None, masquerade=True)
    assert rules(gate)[held(bert)[0]] == AddressRules(held(bert)[0], some.networks, strict=True)


def test_a_users_own_profile_wins_over_those_of_his_groups_and_the_first_group_over_the_next() -> None:
    own, lab = AccessProfile("own", nets("10.1.0.7/32")), AccessProfile("lab", nets("10.1.0.8/32"), groups=("lab",))
    snapshot = Snapshot.build(1, [], [], access_profiles=[WEB, own, lab])
    for user, name, group in (
        (ANNA, "lab", "lab"),
        (replace(ANNA, groups=("staff", "lab")), "web", "staff"),
        (replace(ANNA, access_profile="own"), "own", ""),
    ):
        access = snapshot.access_of(user)
        assert access and (access.profile.name, access.group) == (name, group)
    assert snapshot.access_of(BERT) is None


def test_other_ports_are_other_rules_and_nobody_is_cut_off() -> None:
    network, gate, anna = one_in(3)
    (before,) = sas(gate)
    mail = nets("10.1.0.0/28[tcp/25]", "10.1.0.80/32")
    configure(network, gate, replace(WEB, networks=mail, masquerade=True))
    assert rules(gate)[held(anna)[0]] == AddressRules(held(anna)[0], mail, masquerade=True, strict=True)
    network.run(1)
    assert sas(gate) == [before]


def test_other_networks_end_the_session_which_comes_again_with_them() -> None:
    network, gate, _ = one_in(4)
    wider = replace(WEB, networks=nets("10.1.0.0/27"))
    configure(network, gate, wider)
    assert reached(gate) == {}
    network.run(20)
    assert reached(gate) == {"user1": ["10.1.0.0/27"]}
    configure(network, gate)  # the profile is gone: the whole child again, and no rules
    network.run(20)
    assert reached(gate) == {"user1": ["10.1.0.0/24", "fd01::/64"]}
    assert rules(gate) == {}


def test_a_session_ends_with_its_profile_even_where_its_child_carried_all_the_same() -> None:
    network = Network(42)
    gate = gateway(network)
    some = AccessProfile("some", nets("10.1.0.0/28"), groups=("staff",), full_tunnel=True)
    configure(network, gate, some)
    device(network, 1)
    network.run(1)
    assert reached(gate) == {"user1": ["10.1.0.0/24", "fd01::/64"]}
    (before,) = sas(gate)
    configure(network, gate)
    network.run(1)
    assert before.reason == "user1@people.example has no access profile any more"
    network.run(20)
    (after,) = sas(gate)
    assert after is not before
    assert rules(gate) == {}


def test_who_is_no_user_any_more_comes_again_as_what_his_key_makes_him() -> None:
    network = Network(43)
    gate = gateway(network)
    configure(network, gate)
    device(network, 1)
    network.run(1)
    (before,) = sas(gate)
    configure(network, gate, users=(BERT,))
    network.run(1)
    assert before.reason == "user1@people.example is no user any more"


def test_a_session_that_we_rekeyed_ourselves_is_narrowed_and_followed_all_the_same() -> None:
    network, gate, _ = one_in(5)
    network.perform(gate, gate.engine.rekey("people", None, network.now)[1])
    network.run(5)
    network.perform(gate, gate.engine.rekey("people", "net", network.now)[1])
    network.run(5)
    assert reached(gate) == {"user1": ["10.1.0.0/28", "10.1.0.80/32"]}
    configure(network, gate, WEB)
    assert reached(gate), "the same again is no change"
    configure(network, gate, replace(WEB, networks=nets("10.1.0.80/32")))
    assert reached(gate) == {}


def test_a_profile_without_a_common_network_leaves_no_child() -> None:
    network = Network(6)
    gate = gateway(network)
    configure(network, gate, replace(WEB, networks=nets("10.77.0.0/16")))
    device(network, 1)
    network.run(3)
    attempt = failure(gate)
    assert attempt.cause == "no-group"
    assert (
        "has no child for user1@people.example with anything in the networks of the access profile web"
        in attempt.reason
    )
    assert not gate.plane.states()


def test_rules_that_cannot_be_laid_let_nobody_in_who_needs_them() -> None:
    network = Network(7)
    gate = gateway(network)
    configure(network, gate, WEB)
    for _ in range(40):
        gate.plane.fail_next("nft says no")
    device(network, 1)
    network.run(3)
    assert not gate.plane.states()
    assert (failure(gate).cause, failure(gate).reason) == ("data-plane", "nft says no")
    gate.plane.fail_no_more()
    network.run(60)
    assert reached(gate) == {"user1": ["10.1.0.0/28", "10.1.0.80/32"]}


def test_an_edit_whose_strict_rules_cannot_be_laid_is_felt_by_everybody_else() -> None:
    network = Network(15)
    gate = gateway(network)
    wide = AccessProfile("wide", nets("10.1.0.0/28"))
    users = ANNA, replace(BERT, access_profile="wide")
    configure(network, gate, WEB, wide, users=users)
    device(network, 1)
    bert = device(network, 2)
    network.run(1)
    gate.plane.fail_next("nft says no")
    mail = replace(WEB, networks=nets("10.1.0.0/28[tcp/25]", "10.1.0.80/32"))
    configure(network, gate, mail, replace(wide, masquerade=True), users=users)
    assert reached(gate) == {"user2": ["10.1.0.0/28"]}
    assert rules(gate) == {one: AddressRules(one, wide.networks, masquerade=True) for one in held(bert)}


def test_whose_rules_are_lost_goes_at_once_and_whoever_needs_none_stays() -> None:
    network = Network(14)
    gate = gateway(network)
    wide = AccessProfile("wide", nets("10.1.0.0/28"))
    configure(network, gate, WEB, wide, users=(ANNA, replace(BERT, access_profile="wide")))
    anna, bert = device(network, 1), device(network, 2)
    network.run(1)
    gate.plane.fail_next("nft says no")
    lost = RulesLost(frozenset((held(anna)[0], held(bert)[0], "10.9.0.77")), "nft says no")
    network.perform(gate, gate.engine.kernel(lost, network.now))
    assert reached(gate) == {"user2": ["10.1.0.0/28"]}
    assert {state.source for state in gate.plane.states() if state.inbound} == {"198.51.0.3"}
    assert set(rules(gate)) == set(held(bert))
    network.run(60)
    (ended,) = [event for event in gate.events if event.kind == "ike-sa.closed"]
    assert ended.text.endswith("its rules cannot be laid: nft says no")
    assert reached(gate)["user1"] == ["10.1.0.0/28", "10.1.0.80/32"], "it comes again, and has rules"


def test_rules_are_for_addresses_of_pools() -> None:
    _, gate = without_pool(8, WEB)
    assert not gate.plane.states()
    assert failure(gate).cause == "no-rules"


def test_what_is_masqueraded_by_no_address_is_not_told_to_be() -> None:
    wide = AccessProfile("wide", nets("10.1.0.0/28"), groups=("staff",), masquerade=True)
    network, gate = without_pool(41, wide)
    observer = Observer(gate.engine, gate.plane, lambda: network.now, lambda: 0.0)
    observer.counting.refresh(force=True)
    (told,) = [sa.access for sa in observer.status((), ()).ike_sas]
    assert told is not None
    assert (told.profile, told.masquerade) == ("wide", False)


def test_no_child_brings_packets_from_addresses_without_rules() -> None:
    network = Network(13)
    gate = gateway(network)
    base = gate_peer()
    behind = replace(base.children[0], name="behind", remote=nets("10.50.0.0/24", "10.9.0.0/24"))

    def configured(profile: AccessProfile) -> list[list[str]]:
        configure(network, gate, profile, people=replace(base, children=(behind,)))
        network.run(30)
        return [[one.text for one in made.remote] for sa in sas(gate) for made in sa.children.values()]

    one = device_peer("user1")
    wide = replace(one, children=(replace(one.children[0], local=nets("10.50.0.0/24", "10.9.0.0/24")),))
    configured(WEB)
    host = network.host("device1", "198.51.0.2")
    network.apply(host, Snapshot.build(1, [wide], [psk()]))
    assert configured(WEB) == [["10.9.0.1/32"]]
    assert configured(replace(WEB, networks=nets("10.1.0.0/28"))) == [["10.50.0.0/24", "10.9.0.0/24"]]
    assert configured(replace(WEB, networks=nets("10.1.0.0/28[tcp/80]"))) == [["10.9.0.1/32"]]


def test_pools_and_dns_of_a_profile_take_the_place_of_the_peers() -> None:
    network = Network(9)
    gate = gateway(network)
    guests = Pool("guests", ("10.8.0.0/24",), dns=("10.1.0.1",), subnets=("10.66.0.0/16",))
    profile = replace(WEB, pools=("guests",), dns=("10.1.0.9",), domains=("web.example",))
    configure(network, gate, profile, pools=(guests,))
    reply = told_to(network, gate, device(network, 1))
    assert [(attribute.type, attribute.value) for attribute in reply.attributes] == [
        (CfgAttribute.INTERNAL_IP4_ADDRESS, bytes((10, 8, 0, 1))),
        (CfgAttribute.INTERNAL_IP4_DNS, bytes((10, 1, 0, 9))),
        (CfgAttribute.INTERNAL_DNS_DOMAIN, b"web.example"),
    ]


def test_other_pools_end_the_session() -> None:
    network, gate, _ = one_in(11)
    guests = Pool("guests", ("10.8.0.0/24", "fd00:8::/64"))
    configure(network, gate, replace(WEB, pools=("guests",)), pools=(guests,))
    assert reached(gate) == {}
    network.run(20)
    assert [lease.pool for sa in sas(gate) for lease in sa.leases] == ["guests", "guests"]
    assert set(rules(gate)) == {lease.address for sa in sas(gate) for lease in sa.leases}


def test_a_profile_has_esp_algorithms_of_its_own() -> None:
    network, gate, _ = one_in(12)
    strong = (Proposal.parse("chacha20poly1305", Protocol.ESP),)
    configure(network, gate, replace(WEB, esp=strong))
    assert reached(gate) == {}
    network.run(3)
    assert failure(gate).cause == "no-esp-proposal"
    configure(network, gate, replace(WEB, esp=ESP))
    network.run(60)
    assert reached(gate) == {"user1": ["10.1.0.0/28", "10.1.0.80/32"]}


def test_an_ike_sa_with_other_algorithms_than_the_profile_asks_for_is_refused() -> None:
    network, gate, _ = one_in(10)
    strong = (Proposal.parse("chacha20poly1305-prfsha512-x25519", Protocol.IKE),)
    configure(network, gate, replace(WEB, ike=strong))
    assert reached(gate) == {}
    network.run(10)
    attempt = failure(gate)
    assert (attempt.cause, attempt.notify) == ("weak-algorithms", 24)
    assert "the access profile web asks for other algorithms of IKE than" in attempt.reason


def test_an_address_that_two_pools_have_is_held_by_one_user_whose_rules_stay() -> None:
    network = Network(40)
    gate = gateway(network)
    twin = replace(OFFICE, name="twin")
    other = AccessProfile("other", nets("10.1.0.0/24[tcp/80]"), pools=("twin",))
    users = (ANNA, replace(BERT, access_profile="other"))
    configure(network, gate, WEB, other, users=users, pools=(twin,))
    anna, bert = device(network, 1), device(network, 2)
    network.run(1)
    assert not set(held(anna)) & set(held(bert))
    assert {rules(gate)[one].allowed for one in held(anna)} == {WEB.networks}
    assert {rules(gate)[one].allowed for one in held(bert)} == {other.networks}
    network.perform(anna, anna.engine.stop(network.now))
    network.run(10)
    assert set(rules(gate)) == set(held(bert))
