"""Exchanges that meet, each order of their messages a case of its own (RFC 7296 2.8.1, 2.8.2, 2.25).

In the ladders A is on the left. (a) and (b) are the SAs that A's and B's own exchange makes, (o) is the old one.
"""

import pytest

from gateway.ike.plane import Direction
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Retransmission
from gateway.wire.message import parse_header
from tests.simulation.ladders import CHILD, INFO, Ladder
from tests.simulation.network import Host
from tests.simulation.test_tunnel import assert_agree, established

LOW, MIDDLE, HIGH = 0x00, 0x80, 0xFF
SLOW = Retransmission(tries=6, base=4.0, factor=1.8, jitter=0.0)
whose = pytest.mark.parametrize("loser", ["a", "b"])


def sends_on(host: Host) -> int:
    """The SPI that the only OUT policy is pinned to."""
    (policy,) = (policy for policy in host.plane.policies() if policy.direction is Direction.OUT)
    assert policy.spi is not None
    return policy.spi


def assert_carries(ladder: Ladder) -> None:
    """What either end sends now, the other can receive: the outbound state that is used has its mirror there."""
    for here, there in ((ladder.a, ladder.b), (ladder.b, ladder.a)):
        spi = sends_on(here)
        assert spi in {state.spi for state in here.plane.states() if not state.inbound}
        assert spi in {state.spi for state in there.plane.states() if state.inbound}


def both_rekey(ladder: Ladder, loser: str, child: str | None) -> None:
    """Both begin; the SA that the loser makes has the lowest of the four nonces."""
    for name, host in (("a", ladder.a), ("b", ladder.b)):
        with ladder.nonces(host, LOW if name == loser else HIGH):
            ladder.rekey(host, child)


def cross(ladder: Ladder) -> None:
    """Both CREATE_CHILD_SA requests arrive."""
    with ladder.nonces(ladder.a, MIDDLE), ladder.nonces(ladder.b, MIDDLE):
        ladder.request(ladder.a, CHILD)
        ladder.request(ladder.b, CHILD)


def finish(ladder: Ladder, *, made_by: Host | None = None) -> None:
    """In the end there is one of everything, the same at both ends; `made_by` tells whose exchange made the child."""
    ladder.settle()
    assert_agree(ladder.a, ladder.b)
    assert_carries(ladder)
    if made_by is not None:
        assert ladder.only(made_by) is not ladder.child
        made = next(event for event in made_by.events if event.kind == "child-sa.rekeyed")
        assert made.data["child_sa"] == ladder.only(made_by).id


# --- CHILD_SAs ---


def test_a_rekey_switches_the_responder_when_the_delete_comes() -> None:
    ladder = Ladder()
    old = sends_on(ladder.b)
    ladder.rekey(ladder.a, "net")
    # A --> N(REKEY_SA), SA, Ni, KEi, TSi, TSr
    assert ladder.request(ladder.a, CHILD)[0] == "N(REKEY_SA)"
    assert len(ladder.children(ladder.b)) == 2
    assert sends_on(ladder.b) == old, "B cannot know yet that A receives on the new one (RFC 7296 2.8)"
    assert_carries(ladder)
    #   <-- SA, Nr, KEr, TSi, TSr
    ladder.response(ladder.b, CHILD)
    assert sends_on(ladder.a) != ladder.child.spi_out
    assert_carries(ladder)
    # A --> D(o)
    assert ladder.request(ladder.a, INFO) == ["Delete"]
    assert sends_on(ladder.b) != old
    assert ladder.child.spi_out in {state.spi for state in ladder.b.plane.states() if state.inbound}, "it lingers"
    assert_carries(ladder)
    finish(ladder, made_by=ladder.a)


@whose
def test_both_rekey_one_child(loser: str) -> None:
    ladder = Ladder()
    winner = ladder.b if loser == "a" else ladder.a
    both_rekey(ladder, loser, "net")
    # A --> N(REKEY_SA), Ni  ><  <-- N(REKEY_SA), Ni
    cross(ladder)
    ladder.out_of_patience()
    assert_carries(ladder)
    # A <-- Nr  ><  --> Nr
    ladder.response(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    assert len(ladder.children(ladder.a)) == len(ladder.children(ladder.b)) == 3
    assert_carries(ladder)
    # the loser deletes what it made, the winner the old one
    assert ladder.request(ladder.a, INFO) == ["Delete"]
    assert_carries(ladder)
    assert ladder.request(ladder.b, INFO) == ["Delete"]
    assert_carries(ladder)
    finish(ladder, made_by=winner)


@whose
def test_both_rekey_one_child_and_one_response_is_late(loser: str) -> None:
    ladder = Ladder()
    winner = ladder.b if loser == "a" else ladder.a
    both_rekey(ladder, loser, "net")
    cross(ladder)
    ladder.out_of_patience()
    # A --> Nr(b): B has both, and acts: D(o) or D(b); A still waits for the answer to its own request
    ladder.response(ladder.a, CHILD)
    assert ladder.request(ladder.b, INFO) == ["Delete"]
    assert_carries(ladder)
    # A <-- Nr(a), late
    ladder.response(ladder.b, CHILD)
    assert_carries(ladder)
    finish(ladder, made_by=winner)


def test_the_peer_finished_its_rekey_before_it_saw_ours() -> None:
    """The second sequence of RFC 7296 2.8.1."""
    ladder = Ladder()
    both_rekey(ladder, "b", "net")
    # A --> N(REKEY_SA), Ni   (late)
    # A <-- N(REKEY_SA), Ni
    ladder.request(ladder.b, CHILD)
    ladder.out_of_patience()
    # A --> Nr
    ladder.response(ladder.a, CHILD)
    # A <-- D(o)
    ladder.request(ladder.b, INFO)
    assert_carries(ladder)
    # A --> D(o)
    ladder.response(ladder.a, INFO)
    # A --> the late request, for an SA that is no more
    ladder.request(ladder.a, CHILD)
    # A <-- N(CHILD_SA_NOT_FOUND)
    assert ladder.response(ladder.b, CHILD) == ["N(CHILD_SA_NOT_FOUND)"]
    finish(ladder, made_by=ladder.b)
    assert not [event for event in ladder.a.events if event.kind == "exchange.failed"]


def test_the_peer_deletes_what_we_want_to_rekey_as_it_has_rekeyed_it() -> None:
    ladder = Ladder()
    both_rekey(ladder, "a", "net")
    # A <-- N(REKEY_SA), Ni ; A --> Nr ; B sends D(o), under way
    ladder.request(ladder.b, CHILD)
    ladder.out_of_patience()
    ladder.response(ladder.a, CHILD)
    # A --> N(REKEY_SA), Ni: it arrives while B is deleting the old one
    ladder.request(ladder.a, CHILD)
    # A <-- N(TEMPORARY_FAILURE)
    assert ladder.response(ladder.b, CHILD) == ["N(TEMPORARY_FAILURE)"]
    assert_carries(ladder)
    finish(ladder, made_by=ladder.b)


def test_a_rekey_meets_the_childs_delete() -> None:
    ladder = Ladder()
    # A --> N(REKEY_SA), Ni  ><  <-- D(o)
    ladder.rekey(ladder.a, "net")
    ladder.disconnect(ladder.b, "net")
    ladder.request(ladder.a, CHILD)
    assert ladder.request(ladder.b, INFO) == ["Delete"]
    # A <-- N(TEMPORARY_FAILURE)  ><  --> D(o)
    assert ladder.response(ladder.b, CHILD) == ["N(TEMPORARY_FAILURE)"]
    assert ladder.response(ladder.a, INFO) == ["Delete"]
    assert not ladder.children(ladder.a)
    assert not ladder.children(ladder.b)
    # A wants it always: it comes back
    finish(ladder)


def test_a_rekey_is_answered_and_then_all_of_the_child_is_deleted() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.a, "net")
    # A --> N(REKEY_SA), Ni ; <-- Nr, held back ; B's administrator takes the child down: D(o), then D(a)
    ladder.request(ladder.a, CHILD)
    ladder.disconnect(ladder.b, "net")
    ladder.request(ladder.b, INFO)
    ladder.response(ladder.b, CHILD)
    ladder.network.let_go()
    ladder.network.run(0.5)
    assert not ladder.children(ladder.b)
    assert not ladder.children(ladder.a)
    finish(ladder)


def test_both_delete_one_child() -> None:
    ladder = Ladder()
    # A --> D(o)  ><  <-- D(o)
    ladder.disconnect(ladder.a, "net")
    ladder.disconnect(ladder.b, "net")
    ladder.request(ladder.a, INFO)
    ladder.request(ladder.b, INFO)
    # A <-- (nothing)  ><  --> (nothing): RFC 7296 1.4.1
    assert ladder.response(ladder.b, INFO) == []
    assert ladder.response(ladder.a, INFO) == []
    ladder.settle()
    for host in (ladder.a, ladder.b):
        assert not ladder.children(host)
        assert not host.plane.states()
        assert len(established(host)) == 1


@whose
def test_both_create_one_child(loser: str) -> None:
    ladder = childless()
    # A --> SA, Ni, TSi, TSr  ><  <-- SA, Ni, TSi, TSr
    for name, host in (("a", ladder.a), ("b", ladder.b)):
        with ladder.nonces(host, LOW if name == loser else HIGH):
            ladder.connect(host, "net")
    cross(ladder)
    # A <-- SA, Nr  ><  --> SA, Nr
    ladder.response(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    assert len(ladder.children(ladder.a)) == len(ladder.children(ladder.b)) == 2
    # the loser deletes what it made
    loser_host = ladder.a if loser == "a" else ladder.b
    assert ladder.request(loser_host, INFO) == ["Delete"]
    assert not [letter for letter in ladder.network.held if letter.is_about(INFO, response=False)]
    finish(ladder)


@whose
def test_both_create_one_child_and_one_does_not_notice(loser: str) -> None:
    ladder = childless()
    for name, host in (("a", ladder.a), ("b", ladder.b)):
        with ladder.nonces(host, LOW if name == loser else HIGH):
            ladder.connect(host, "net")
    with ladder.nonces(ladder.a, MIDDLE), ladder.nonces(ladder.b, MIDDLE):
        # A <-- SA, Ni ; A --> SA, Nr: for B that is all
        ladder.request(ladder.b, CHILD)
        ladder.response(ladder.a, CHILD)
        # A --> SA, Ni, late ; A <-- SA, Nr
        ladder.request(ladder.a, CHILD)
        ladder.response(ladder.b, CHILD)
    assert len(ladder.children(ladder.b)) == 2
    finish(ladder)


def childless() -> Ladder:
    """The IKE SA stands without its child, which both ends may create."""
    ladder = Ladder()
    ladder.network.let_go()
    ladder.disconnect(ladder.a, "net")
    ladder.disconnect(ladder.b, "net")
    ladder.network.run(1)
    assert not ladder.children(ladder.a)
    ladder.network.holding = True
    return ladder


def test_a_child_that_the_peer_lost_is_made_anew() -> None:
    ladder = Ladder()
    # B forgets the child without a word
    ladder.other_old.children.clear()
    ladder.rekey(ladder.a, "net")
    # A --> N(REKEY_SA), Ni
    ladder.request(ladder.a, CHILD)
    # A <-- N(CHILD_SA_NOT_FOUND), with the SPI of the child (RFC 7296 2.25)
    (letter,) = ladder.network.held
    (notify,) = ladder.network.read(letter).payloads
    assert getattr(notify, "spi", b"") == ladder.child.spi_in.to_bytes(4)
    ladder.response(ladder.b, CHILD)
    # A --> SA, Ni, KEi, TSi, TSr: from scratch
    assert "N(REKEY_SA)" not in ladder.request(ladder.a, CHILD)
    ladder.settle()
    assert len(ladder.children(ladder.a)) == len(ladder.children(ladder.b)) == 1
    assert ladder.only(ladder.a) is not ladder.child


# --- IKE SAs ---


def assert_ike(ladder: Ladder, maker: Host) -> None:
    """One IKE SA at both ends, which this end's exchange made, with the old child in it."""
    ladder.settle(200)
    assert_agree(ladder.a, ladder.b)
    assert ladder.sa(maker).initiator
    assert ladder.sa(maker) is not (ladder.old if maker is ladder.a else ladder.other_old)
    assert ladder.only(ladder.a) is ladder.child
    assert ladder.only(ladder.b) is ladder.other_child
    for host in (ladder.a, ladder.b):
        assert len(host.engine.ike_sas()) == 1
        assert "ike-sa.closed" not in host.kinds()


def holder(host: Host) -> IkeSa:
    (sa,) = (sa for sa in host.engine.ike_sas() if sa.children)
    return sa


@whose
def test_both_rekey_the_ike_sa(loser: str) -> None:
    ladder = Ladder()
    both_rekey(ladder, loser, None)
    # A --> SA, Ni, KEi  ><  <-- SA, Ni, KEi
    cross(ladder)
    ladder.out_of_patience()
    assert holder(ladder.a) is ladder.old, "not decided yet"
    assert holder(ladder.b) is ladder.other_old
    # A <-- SA, Nr, KEr  ><  --> SA, Nr, KEr
    ladder.response(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    assert holder(ladder.a).spi_i == holder(ladder.b).spi_i
    assert_ike(ladder, ladder.b if loser == "a" else ladder.a)


@whose
def test_both_rekey_the_ike_sa_and_one_response_is_late(loser: str) -> None:
    ladder = Ladder()
    both_rekey(ladder, loser, None)
    cross(ladder)
    ladder.out_of_patience()
    # A --> SA, Nr(b): B has both, and deletes (o) or (b)
    made = next(sa for sa in ladder.a.engine.ike_sas() if sa.stands_by)
    ladder.response(ladder.a, CHILD)
    assert ladder.request(ladder.b, INFO, on=ladder.old if loser == "a" else made) == ["Delete"]
    # A <-- SA, Nr(a), late: where the old SA is gone, A has forgotten its request
    assert (ladder.old.state == Lifecycle.CLOSED) is (loser == "a")
    assert_ike(ladder, ladder.b if loser == "a" else ladder.a)


def test_the_delete_of_what_lost_is_answered_though_it_was_lost_twice() -> None:
    """As strongSwan repeats it: after four seconds, and after eleven."""
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", None)
    cross(ladder)
    ladder.out_of_patience()
    ladder.response(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    made = next(sa for sa in ladder.b.engine.ike_sas() if sa.initiator and not sa.children and sa.replaced_by)
    # A --> D(o), and its answer: with the old SA gone, nothing but B's word is left of (b)
    assert ladder.request(ladder.a, INFO, on=ladder.old) == ["Delete"]
    ladder.response(ladder.b, INFO)
    # A <-x D(b), two times
    for pause in (4.1, 7.3):
        ladder.network.take(ladder.b, INFO, spi_i=made.spi_i)
        ladder.network.run(pause)
    # A <-- D(b) ; A --> HDR, SK {}
    assert ladder.request(ladder.b, INFO, on=made) == ["Delete"]
    ladder.settle(1.0)
    assert [sa.state for sa in ladder.b.engine.ike_sas()] == [Lifecycle.ESTABLISHED]
    assert_ike(ladder, ladder.a)


def test_the_peer_finished_its_rekey_of_the_ike_sa_before_it_saw_ours() -> None:
    """The special case of RFC 7296 2.8.2."""
    ladder = Ladder()
    both_rekey(ladder, "b", None)
    # A <-- SA, Ni ; A --> SA, Nr ; B is done, its D(o) is under way
    ladder.request(ladder.b, CHILD)
    ladder.out_of_patience()
    ladder.response(ladder.a, CHILD)
    assert ladder.other_old.state == Lifecycle.REKEYED
    # A --> SA, Ni, late: on an SA that B is about to close
    ladder.request(ladder.a, CHILD)
    # A <-- N(TEMPORARY_FAILURE)
    assert ladder.response(ladder.b, CHILD) == ["N(TEMPORARY_FAILURE)"]
    assert holder(ladder.a) is not ladder.old
    assert_ike(ladder, ladder.b)


def test_the_peers_delete_of_the_old_ike_sa_ends_our_rekey() -> None:
    ladder = Ladder()
    both_rekey(ladder, "b", None)
    ladder.request(ladder.b, CHILD)
    ladder.out_of_patience()
    ladder.response(ladder.a, CHILD)
    # A <-- D(o), and A's own request is lost
    ladder.lose(ladder.a, CHILD)
    assert ladder.request(ladder.b, INFO, on=ladder.old) == ["Delete"]
    assert ladder.old.state == Lifecycle.CLOSED
    assert_ike(ladder, ladder.b)


def test_the_peer_uses_its_new_ike_sa_before_ours_is_answered() -> None:
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", None)
    ladder.request(ladder.b, CHILD)
    ladder.out_of_patience()
    ladder.response(ladder.a, CHILD)
    # A <-- N(QCD_TOKEN), on (b), for which A still has nothing; D(o) comes later
    new = ladder.sa(ladder.b)
    assert holder(ladder.a) is ladder.old
    assert ladder.request(ladder.b, INFO, on=new) == ["N(QUICK_CRASH_DETECTION)"]
    assert holder(ladder.a).spi_i == new.spi_i
    # A --> (nothing) ; A <-- N(REKEY_SA), Ni, on (b)
    ladder.response(ladder.a, INFO)
    ladder.rekey(ladder.b, "net")
    assert ladder.request(ladder.b, CHILD, on=new)[0] == "N(REKEY_SA)"
    assert len(ladder.children(ladder.a)) == 2
    ladder.settle(200)
    assert_agree(ladder.a, ladder.b)


def test_a_rekey_of_the_ike_sa_meets_its_delete() -> None:
    ladder = Ladder()
    # A --> SA, Ni  ><  <-- D(o)
    ladder.rekey(ladder.a)
    ladder.disconnect(ladder.b)
    ladder.request(ladder.a, CHILD)
    ladder.request(ladder.b, INFO)
    # A --> (nothing), and forgets its rekey
    assert ladder.response(ladder.a, INFO) == []
    assert not ladder.a.engine.ike_sas()
    assert not ladder.b.engine.ike_sas()
    # A wants it always and calls again
    finish(ladder)


def test_a_rekey_of_the_ike_sa_is_answered_and_then_it_is_deleted() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.a)
    # A --> SA, Ni ; B has the new SA already ; its administrator ends all of them ; A <-- SA, Nr, late
    ladder.request(ladder.a, CHILD)
    ladder.disconnect(ladder.b)
    ladder.settle(300)
    assert_agree(ladder.a, ladder.b)


def test_we_delete_while_our_own_rekey_is_under_way() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.a)
    ladder.disconnect(ladder.a)
    # A --> SA, Ni ; A <-- SA, Nr: B moved its children to an SA that A never wanted ; A deletes both
    ladder.request(ladder.a, CHILD)
    ladder.response(ladder.b, CHILD)
    ladder.settle(2)
    for host in (ladder.a, ladder.b):
        assert not host.engine.ike_sas()
        assert not host.plane.states()


def test_both_delete_the_ike_sa() -> None:
    ladder = Ladder()
    # A --> D(o)  ><  <-- D(o)
    ladder.disconnect(ladder.a)
    ladder.disconnect(ladder.b)
    ladder.request(ladder.a, INFO)
    ladder.request(ladder.b, INFO)
    ladder.settle()
    for host in (ladder.a, ladder.b):
        assert not host.engine.ike_sas()
        assert not host.plane.states()


@pytest.mark.parametrize("what", ["rekeyed", "created", "deleted"])
def test_a_child_exchange_meets_a_rekey_of_the_ike_sa(what: str) -> None:
    ladder = childless() if what == "created" else Ladder()
    begin = {"rekeyed": ladder.rekey, "created": ladder.connect, "deleted": ladder.disconnect}[what]
    begin(ladder.a, "net")
    ladder.rekey(ladder.b)
    # A --> SA, Ni, TSi, TSr (or D)  ><  <-- SA(IKE), Ni
    ladder.request(ladder.a, INFO if what == "deleted" else CHILD)
    ladder.request(ladder.b, CHILD)
    # A --> N(TEMPORARY_FAILURE) ; and so does B, but a delete is answered as usual (RFC 7296 2.25.2)
    assert ladder.response(ladder.a, CHILD) == ["N(TEMPORARY_FAILURE)"]
    if what == "deleted":
        assert ladder.response(ladder.b, INFO) == ["Delete"]
    else:
        assert ladder.response(ladder.b, CHILD) == ["N(TEMPORARY_FAILURE)"]
    # neither tries again at once
    assert not ladder.network.held
    ladder.settle()
    for host in (ladder.a, ladder.b):
        assert len(ladder.children(host)) == (0 if what == "deleted" else 1)
        assert ladder.sa(host) is not (ladder.old if host is ladder.a else ladder.other_old)
    if what != "deleted":
        assert_agree(ladder.a, ladder.b)
        assert ladder.only(ladder.a) is not ladder.child


def test_who_is_too_busy_for_minutes_is_called_anew() -> None:
    # B's own rekey is never answered, and B refuses all that A begins
    ladder = Ladder(retransmission=Retransmission(tries=2, base=1000.0))
    ladder.rekey(ladder.b)
    ladder.rekey(ladder.a, "net")
    for _ in range(400):
        ladder.network.held = [
            one for one in ladder.network.held if one.sender == "left" or parse_header(one.data).response
        ]
        while ladder.network.held and established(ladder.a) == [ladder.old]:
            ladder.network.deliver(ladder.network.held.pop(0))
        if established(ladder.a) != [ladder.old]:
            break
        ladder.network.run(1)
    assert "TEMPORARY_FAILURE" in ladder.old.reason
    ladder.settle(300)
    assert_agree(ladder.a, ladder.b)
