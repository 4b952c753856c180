"""Two rekeys of an SA that cross: the peer's waits a little for its answer to ours.

So that a peer that takes no heed of nonces (libreswan) makes one new SA alone.
"""

import pytest

from gateway.ike.exchanges.collisions import CROSSING
from gateway.ike.lifecycle import close
from gateway.ike.sa import Lifecycle
from gateway.ike.succession import patience
from gateway.policy.peers import Retransmission
from tests.simulation.agreement import assert_agree
from tests.simulation.crossings import (
    HIGH,
    LOW,
    SLOW,
    assert_carries,
    assert_ike,
    both_rekey,
    cross,
    finish,
    holder,
    sends_on,
    whose,
)
from tests.simulation.ladders import CHILD, INFO, Ladder


def test_our_rekey_of_the_ike_sa_is_answered_before_we_answer_the_peers() -> None:
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", None)
    # A --> SA, Ni ; B waits ; A <-- SA, Ni, a little later: A waits longer than B
    ladder.request(ladder.a, CHILD)
    ladder.network.run(CROSSING / 2)
    ladder.request(ladder.b, CHILD)
    ladder.lose(ladder.b, CHILD)  # the same again
    assert not ladder.network.held
    # A <-- SA, Nr
    ladder.network.run(CROSSING / 2 + 0.01)
    ladder.response(ladder.b, CHILD)
    # A --> N(TEMPORARY_FAILURE), D(o)
    assert ladder.response(ladder.a, CHILD) == ["N(TEMPORARY_FAILURE)"]
    assert holder(ladder.a) is not ladder.old
    assert_ike(ladder, ladder.a)


def test_the_ike_sa_of_the_peer_that_won_is_silent_until_the_peer_has_it() -> None:
    """It would say that it knows no such SA, and its token, which it gives us meanwhile, would prove it (RFC 6290)."""
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "a", None)
    cross(ladder)
    ladder.out_of_patience()
    # A <-- SA, Nr(a): A's is the one that goes ; A --> D(a) ; A <-- HDR, SK {}
    ladder.response(ladder.b, CHILD)
    won = holder(ladder.a)
    assert not won.initiator
    made = next(sa for sa in ladder.a.engine.ike_sas() if sa.state == Lifecycle.DELETING)
    assert ladder.request(ladder.a, INFO, on=made) == ["Delete"]
    ladder.response(ladder.b, INFO)
    assert made.state == Lifecycle.CLOSED
    ladder.rekey(ladder.a, "net")
    assert not [letter for letter in ladder.network.held if letter.data.startswith(won.spi_i)]
    # A --> SA, Nr(b)
    ladder.response(ladder.a, CHILD)
    finish(ladder, made_by=ladder.a)
    assert "ike-sa.closed" not in ladder.a.kinds() + ladder.b.kinds()


@whose
def test_our_rekey_of_a_child_is_answered_before_we_answer_the_peers(loser: str) -> None:
    """With the CHILD_SA that it made last libreswan loses its policies, also where another one stands beside it."""
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, loser, "net")
    # A --> N(REKEY_SA), Ni ; B waits ; A <-- N(REKEY_SA), Ni, a little later: A waits longer than B
    with ladder.nonces(ladder.a, LOW if loser == "a" else HIGH), ladder.nonces(ladder.b, HIGH):
        ladder.request(ladder.a, CHILD)
        ladder.network.run(CROSSING / 2)
        ladder.request(ladder.b, CHILD)
        ladder.lose(ladder.b, CHILD)  # the same again
        assert not ladder.network.held
        # A <-- Nr
        ladder.network.run(CROSSING / 2 + 0.01)
    ladder.lose(ladder.a, CHILD)  # the same again
    ladder.response(ladder.b, CHILD)
    made = sends_on(ladder.a)
    assert len(ladder.children(ladder.a)) == len(ladder.children(ladder.b)) == 2
    assert_carries(ladder)
    # A --> D(o): the old one, whatever the nonces, and before its answer to the peer, which else might use (o) again
    (letter,) = ladder.network.held
    (delete,) = ladder.network.read(letter).payloads
    assert getattr(delete, "spis", ()) == [ladder.child.spi_in.to_bytes(4)]
    ladder.request(ladder.a, INFO)
    assert_carries(ladder)
    assert ladder.response(ladder.b, INFO) == ["Delete"]
    # A --> N(CHILD_SA_NOT_FOUND), with the SPI of the child (RFC 7296 2.25)
    assert ladder.response(ladder.a, CHILD) == ["N(CHILD_SA_NOT_FOUND)"]
    assert sends_on(ladder.a) == made
    finish(ladder, made_by=ladder.a)
    assert not [event for host in (ladder.a, ladder.b) for event in host.events if event.kind == "exchange.failed"]


def test_the_peers_rekey_of_a_child_is_answered_at_once_when_ours_is_refused() -> None:
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "a", "net")
    # A --> N(REKEY_SA), Ni ; B waits ; A <-- N(REKEY_SA), Ni, a little later: A waits longer than B
    ladder.request(ladder.a, CHILD)
    ladder.network.run(CROSSING / 2)
    ladder.request(ladder.b, CHILD)
    # A <-- N(NO_ADDITIONAL_SAS)
    ladder.b.plane.fail_next_allocation("there is no room")
    ladder.network.run(CROSSING / 2 + 0.01)
    assert ladder.response(ladder.b, CHILD) == ["N(NO_ADDITIONAL_SAS)"]
    # A --> Nr
    assert ladder.response(ladder.a, CHILD)[0] == "SA"
    assert_carries(ladder)
    finish(ladder, made_by=ladder.b)


def test_a_repeat_of_the_peers_rekey_changes_nothing_while_it_waits() -> None:
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", "net")
    ladder.request(ladder.a, CHILD)
    letter = ladder.network.take(ladder.b, CHILD)
    for _ in range(3):
        ladder.network.deliver(letter)
        ladder.network.run(CROSSING / 4)
    assert len(ladder.children(ladder.a)) == 1
    ladder.out_of_patience()
    assert len(ladder.children(ladder.a)) == 2
    finish(ladder, made_by=ladder.a)


def test_a_replaced_ike_sa_that_the_peer_forgot_to_delete_is_deleted_by_us() -> None:
    """libreswan forgets it after two rekeys that crossed; it would rekey it when its time comes, hours later."""
    ladder = Ladder()
    ladder.rekey(ladder.b)
    # A <-- SA, Ni ; A --> SA, Nr ; B has its new one, and D(o) never comes
    ladder.request(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    forgotten = ladder.other_old
    forgotten.requests.pending = None
    ladder.b.engine.core.timers.cancel(("linger", forgotten))
    ladder.network.take(ladder.b, INFO, spi_i=ladder.old.spi_i)
    ladder.settle(patience(ladder.old) - 1)
    assert ladder.old.state == forgotten.state == Lifecycle.REKEYED
    # A --> D(o) ; A <-- HDR, SK {}
    ladder.network.run(2)
    assert ladder.old.state == forgotten.state == Lifecycle.CLOSED
    assert_ike(ladder, ladder.b)


def test_a_replaced_ike_sa_that_nobody_knows_any_more_ends_soon() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.b)
    ladder.request(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    close(ladder.b.engine.core, ladder.other_old, "forgotten")
    ladder.network.take(ladder.b, INFO, spi_i=ladder.old.spi_i)
    ladder.settle(patience(ladder.old) + 10)
    assert ladder.old.state == Lifecycle.CLOSED
    assert_ike(ladder, ladder.b)


def test_a_rekey_of_the_ike_sa_is_asked_for_often_while_it_has_to_wait_and_done_once() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.b)
    # A <-- SA, Ni ; A --> SA, Nr ; A may say nothing on (b) until D(o) comes
    ladder.request(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    for _ in range(3):
        ladder.rekey(ladder.a)
    ladder.settle()
    assert ladder.a.kinds().count("ike-sa.rekeyed") == 2
    assert_ike(ladder, ladder.a)


@pytest.mark.parametrize("child", ["net", None])
def test_ours_is_asked_again_soon_when_the_peers_rekey_crosses_it(child: str | None) -> None:
    """libreswan sends its own request again in the place of its answer, which leaves when it is asked again."""
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", child)
    # A -->x Ni ; A <-- Ni
    ladder.lose(ladder.a, CHILD)
    ladder.request(ladder.b, CHILD)
    assert not ladder.network.held
    # A --> Ni, the same again, once, and long before its time
    ladder.network.run(0.3)
    assert [letter.sender for letter in ladder.network.held] == ["left"]
    ladder.network.run(CROSSING / 2)
    assert len(ladder.network.held) == 1
    ladder.settle(200)
    assert_agree(ladder.a, ladder.b)


@pytest.mark.parametrize("child", ["net", None])
def test_two_that_wait_for_each_other_do_not_give_each_other_up(child: str | None) -> None:
    ladder = Ladder(retransmission=Retransmission(tries=2, base=0.4, factor=1.0, jitter=0.0))
    both_rekey(ladder, "b", child)
    ladder.settle(60)
    for host in (ladder.a, ladder.b):
        assert "ike-sa.closed" not in host.kinds()
    assert_agree(ladder.a, ladder.b)
