"""Two rekeys of an IKE SA that cross: the peer's waits a little for its answer to ours."""

from gateway.ike.exchanges.rekey import CROSSING
from gateway.ike.sa import Lifecycle
from tests.simulation.ladders import CHILD, INFO, Ladder
from tests.simulation.test_collisions import SLOW, assert_ike, both_rekey, cross, finish, holder


def test_our_rekey_of_the_ike_sa_is_answered_before_we_answer_the_peers() -> None:
    """So that a peer that takes no heed of nonces (libreswan) makes one new IKE SA alone."""
    ladder = Ladder(retransmission=SLOW)
    both_rekey(ladder, "b", None)
    # A --> SA, Ni ; B waits ; A <-- SA, Ni, a little later: A waits longer than B
    ladder.request(ladder.a, CHILD)
    ladder.network.run(CROSSING / 2)
    ladder.request(ladder.b, CHILD)
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
