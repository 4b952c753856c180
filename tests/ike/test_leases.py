"""Who gets which address: never two the same, and everybody his own again."""

import ipaddress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ike.leases import Leases, Wanted, still_fits
from gateway.policy.identities import Identity
from gateway.policy.pools import Lease, Pool, Reservation

OFFICE = Pool("office", ("10.9.0.0/24", "fd00:9::/64"))
SMALL = Pool("small", ("10.9.0.8/31",))


def ask(name: str, asked: str = "", place: str = "", *, shares: bool = True) -> Wanted:
    return Wanted(Identity.parse(name), int(ipaddress.ip_address(asked)) if asked else None, place, shares)


def taken(leases: Leases, pool: Pool, wanted: Wanted, version: int = 4) -> str | None:
    lease = leases.take(pool, version, wanted, 100.0)
    return lease.address if lease else None


def test_addresses_go_out_in_order_and_for_each_version() -> None:
    leases = Leases()
    assert [taken(leases, OFFICE, ask(f"u{n}")) for n in range(3)] == ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
    assert taken(leases, OFFICE, ask("u2"), 6) == "fd00:9::1"
    assert taken(leases, SMALL, ask("u1"), 6) is None


def test_the_same_identity_gets_its_address_again() -> None:
    leases = Leases()
    first = leases.take(OFFICE, 4, ask("anna"), 100.0)
    assert first is not None
    kept = leases.release(first, 200.0)
    assert kept == Lease("office", "10.9.0.1", Identity.parse("anna"), 100.0, 200.0)
    assert taken(leases, OFFICE, ask("bert")) == "10.9.0.2"
    assert leases.take(OFFICE, 4, ask("ANNA"), 300.0) == Lease("office", "10.9.0.1", Identity.parse("ANNA"), 300.0)


def test_an_address_is_asked_for() -> None:
    leases = Leases()
    assert taken(leases, OFFICE, ask("anna", "10.9.0.77")) == "10.9.0.77"
    assert taken(leases, OFFICE, ask("bert", "10.9.0.77")) == "10.9.0.1"
    assert taken(leases, OFFICE, ask("carl", "10.8.0.77")) == "10.9.0.2"


def test_who_makes_an_sa_in_place_of_another_shares_its_address_until_both_are_gone() -> None:
    leases = Leases()
    first, second = (leases.take(SMALL, 4, ask("anna"), now) for now in (100.0, 200.0))
    assert first is not None and second is not None
    assert first.address == second.address
    assert leases.release(first, 300.0) is None
    assert taken(leases, SMALL, ask("bert")) != second.address
    assert leases.release(second, 400.0) is not None


def test_two_devices_of_one_name_get_two_addresses_unless_one_comes_again_from_its_place() -> None:
    leases = Leases()
    one = taken(leases, OFFICE, ask("anna", place="192.0.2.1", shares=False))
    other = taken(leases, OFFICE, ask("anna", place="192.0.2.2", shares=False))
    assert one != other
    again = ask("anna", other or "", "192.0.2.2", shares=False)
    assert taken(leases, OFFICE, again) == other
    assert taken(leases, OFFICE, ask("anna", one or "", "192.0.2.9", shares=False)) not in (one, other)


def test_when_none_is_left_the_longest_unused_goes_and_what_is_held_stays() -> None:
    leases = Leases()
    anna, bert = leases.take(SMALL, 4, ask("anna"), 1.0), leases.take(SMALL, 4, ask("bert"), 2.0)
    assert anna is not None and bert is not None
    assert taken(leases, SMALL, ask("carl")) is None
    leases.release(bert, 3.0)
    leases.release(anna, 4.0)
    assert taken(leases, SMALL, ask("carl")) == bert.address
    assert taken(leases, SMALL, ask("bert")) == anna.address
    assert taken(leases, SMALL, ask("anna")) is None


def test_a_reserved_address_is_for_one_alone() -> None:
    pool = Pool("p", ("10.9.0.0/29",), reservations=(Reservation(Identity.parse("boss"), "10.9.0.2"),))
    leases = Leases()
    assert taken(leases, pool, ask("anna", "10.9.0.2")) == "10.9.0.1"
    assert taken(leases, pool, ask("bert")) == "10.9.0.3"
    assert taken(leases, pool, ask("boss")) == "10.9.0.2"
    assert leases.keeps(pool, 4, Identity.parse("boss")) and not leases.keeps(pool, 6, Identity.parse("boss"))


def test_an_address_that_is_fixed_is_given_or_none() -> None:
    boss = Reservation(Identity.parse("boss"), "10.9.0.2")
    pool, twin = Pool("p", ("10.9.0.0/29",), reservations=(boss,)), Pool("twin", ("10.9.0.0/29",))
    leases = Leases()

    def fixed(name: str, address: str, *, shares: bool = True) -> Wanted:
        return replace(ask(name, "10.9.0.6", shares=shares), fixed=int(ipaddress.ip_address(address)))

    anna = leases.take(pool, 4, fixed("anna", "10.9.0.4"), 1.0)
    assert anna is not None and anna.address == "10.9.0.4"
    assert taken(leases, pool, fixed("bert", "10.9.0.4")) is None, "anna holds it"
    assert taken(leases, twin, fixed("bert", "10.9.0.4")) is None, "in whatever pool"
    assert taken(leases, pool, fixed("anna", "10.9.0.4", shares=False)) is None, "her other device"
    assert taken(leases, pool, fixed("anna", "10.9.0.4")) == "10.9.0.4"
    assert taken(leases, pool, fixed("bert", "10.9.0.2")) is None, "it is reserved"
    assert taken(leases, pool, fixed("boss", "10.9.0.2")) == "10.9.0.2"
    assert taken(leases, pool, fixed("bert", "10.9.1.4")) is None, "the pool has it not"
    leases.release(anna, 2.0)
    leases.release(anna, 3.0)
    assert taken(leases, pool, fixed("bert", "10.9.0.4")) == "10.9.0.4", "it was kept for anna, but is his now"
    assert taken(leases, pool, fixed("anna", "10.9.0.5")) == "10.9.0.5", "and not what she had before"


def test_what_was_reserved_is_given_out_when_it_is_no_longer() -> None:
    reserving = Pool("small", ("10.9.0.8/31",), reservations=(Reservation(Identity.parse("boss"), "10.9.0.8"),))
    leases = Leases()
    assert taken(leases, reserving, ask("anna")) == "10.9.0.9"
    assert taken(leases, reserving, ask("bert")) is None
    assert taken(leases, SMALL, ask("bert")) == "10.9.0.8"


def test_leases_outlive_a_restart() -> None:
    leases = Leases()
    for name in ("anna", "bert", "carl"):
        taken(leases, OFFICE, ask(name))
    after = Leases()
    after.restore(leases.all())
    assert all(lease.released is not None for lease in after.all())
    assert taken(after, OFFICE, ask("dora")) == "10.9.0.4"
    assert taken(after, OFFICE, ask("bert")) == "10.9.0.2"


def test_what_one_pool_has_given_out_no_other_does() -> None:
    leases, twin = Leases(), Pool("twin", ("10.9.0.0/30",))
    fixed = Pool("fixed", ("10.9.0.0/30",), reservations=(Reservation(Identity.parse("dora"), "10.9.0.1"),))
    held = leases.take(OFFICE, 4, ask("anna"), 100.0)
    assert held is not None and held.address == "10.9.0.1"
    assert taken(leases, twin, ask("bert", "10.9.0.1")) == "10.9.0.2"
    assert taken(leases, twin, ask("anna")) is None, "not even to herself: it is the other pool's"
    assert taken(leases, fixed, ask("dora")) is None
    leases.release(held, 200.0)
    assert taken(leases, fixed, ask("dora")) == "10.9.0.1"
    assert taken(leases, OFFICE, ask("anna")) == "10.9.0.3"


def test_a_lease_is_forgotten_only_while_nobody_holds_it() -> None:
    leases = Leases()
    first = leases.take(OFFICE, 4, ask("anna"), 1.0)
    assert first is not None
    assert not leases.forget("office", "10.9.0.1")
    assert not leases.forget("nowhere", "10.9.0.1")
    leases.release(first, 2.0)
    assert leases.forget("office", "10.9.0.1")
    assert leases.all() == []
    assert taken(leases, OFFICE, ask("bert")) == "10.9.0.1"


def test_a_pool_that_changes_keeps_the_leases_that_are_still_in_it() -> None:
    lease = Lease("office", "10.9.0.1", Identity.parse("anna"), 1.0)
    assert still_fits([OFFICE], lease)
    assert not still_fits([], lease)
    assert not still_fits([Pool("office", ("10.8.0.0/24",))], lease)
    assert not still_fits([Pool("office", OFFICE.networks, ("10.9.0.1",))], lease)
    for owner, fits in (("anna", True), ("bert", False)):
        reserving = Pool("office", OFFICE.networks, reservations=(Reservation(Identity.parse(owner), "10.9.0.1"),))
        assert still_fits([reserving], lease) is fits


def test_a_thousand_users_get_a_thousand_addresses_and_the_next_one_none() -> None:
    pool = Pool("campus", ("10.9.0.0-10.9.3.231", "fd00:9::/112"))
    leases = Leases()
    for version in (4, 6):
        given = [taken(leases, pool, ask(f"user{n}@example.org"), version) for n in range(1000)]
        assert None not in given
        assert len(set(given)) == 1000
    assert taken(leases, pool, ask("one@too.many")) is None


@dataclass
class Held:
    """One IKE SA with its lease."""

    name: str
    lease: Lease
    shares: bool = field(default=True)


class Comings(RuleBasedStateMachine):
    """Users come and go, the pool changes, the gateway restarts: no address is ever held by two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.leases, self.now = Leases(), 0.0
        self.pool = Pool("p", ("10.9.0.0-10.9.0.6",))
        self.held: list[Held] = []

    @rule(user=st.integers(0, 9), asked=st.integers(0, 8), shares=st.booleans())
    def come(self, user: int, asked: int, shares: bool) -> None:
        self.now += 1
        name = f"user{user}"
        wanted = ask(name, f"10.9.0.{asked}" if asked else "", f"192.0.2.{user}", shares=shares)
        before = self.leases.all()
        lease = self.leases.take(self.pool, 4, wanted, self.now)
        if lease is None:
            assert self.leases.all() == before
            held = {one.lease.address for one in self.held}
            reserved = {one.address for one in self.pool.reservations}
            assert {f"10.9.0.{host}" for host in range(7)} - reserved <= held
        else:
            self.held.append(Held(name, lease, shares))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        self.now += 1
        one = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        last = self.leases.release(one.lease, self.now)
        assert (last is None) is any(other.lease.address == one.lease.address for other in self.held)

    @rule()
    def restart(self) -> None:
        written, self.leases, self.held = self.leases.all(), Leases(), []
        self.leases.restore(written)

    @rule(user=st.integers(0, 9), host=st.integers(0, 6))
    def reserve(self, user: int, host: int) -> None:
        """As the engine does it: who holds what is another's from now on has to go."""
        owner = Reservation(Identity.parse(f"user{user}"), f"10.9.0.{host}")
        self.pool = Pool("p", self.pool.networks, reservations=(owner,))
        for one in [one for one in self.held if not still_fits([self.pool], one.lease)]:
            self.held.remove(one)
            self.leases.release(one.lease, self.now)

    @invariant()
    def nobody_has_what_another_has(self) -> None:
        holders: dict[str, set[str]] = {}
        for one in self.held:
            holders.setdefault(one.lease.address, set()).add(one.name)
        assert all(len(names) == 1 for names in holders.values())
        in_use = {lease.address for lease in self.leases.all() if lease.released is None}
        assert in_use == holders.keys()


Comings.TestCase.settings = settings(max_examples=200, stateful_step_count=30)
TestComings = Comings.TestCase


@pytest.mark.parametrize("choosy", [False, True])
def test_what_one_pool_remembers_is_bounded(choosy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ike.leases.MOST_LEASES", 3)
    leases = Leases()
    for number in range(20):
        asked = f"fd00:9::{number + 100}" if choosy else ""
        lease = leases.take(OFFICE, 6, ask(f"stranger{number}", asked), float(number))
        assert lease is not None
        leases.release(lease, number + 0.5)
    assert sorted(str(lease.identity) for lease in leases.all()) == ["stranger17", "stranger18", "stranger19"]
