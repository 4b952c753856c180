"""Exchanges of the IKE SA that meet, each order of their messages a case of its own (RFC 7296 2.8.2, 2.25).

In the ladders A is on the left. (a) and (b) are the SAs that A's and B's own exchange makes, (o) is the old one.
"""

import pytest

from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Retransmission
from gateway.wire.message import parse_header
from tests.simulation.agreement import assert_agree, established
from tests.simulation.crossings import SLOW, assert_ike, both_rekey, childless, cross, finish, holder, whose
from tests.simulation.ladders import CHILD, INFO, Ladder


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


def test_the_delete_of_what_the_peer_rekeys_does_not_overtake_our_answer() -> None:
    """A would forget its rekey, and B ask in vain for the end of an SA that A never had."""
    ladder = Ladder()
    ladder.rekey(ladder.a)
    # A --> SA, Ni ; B's administrator ends all ; what B sent comes in the other order
    ladder.request(ladder.a, CHILD)
    ladder.disconnect(ladder.b)
    ended = ladder.b.engine.ike_sas()
    assert len(ended) == 2
    ladder.network.held.reverse()
    ladder.settle(1.0)
    assert [sa.state for sa in ended] == [Lifecycle.CLOSED] * 2


def test_what_the_peer_rekeyed_ends_also_where_the_peer_says_nothing_more() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.a)
    ladder.request(ladder.a, CHILD)
    ladder.disconnect(ladder.b)
    ended = ladder.b.engine.ike_sas()
    assert len(ended) == 2 and not ladder.b.plane.states()
    ladder.network.run(200)  # nothing that B sends arrives
    assert [sa.state for sa in ended] == [Lifecycle.CLOSED] * 2


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
