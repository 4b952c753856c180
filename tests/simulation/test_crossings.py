"""Two rekeys of an IKE SA that cross: the peer's waits a little for its answer to ours."""

from gateway.ike.exchanges.rekey import CROSSING
from tests.simulation.ladders import CHILD, Ladder
from tests.simulation.test_collisions import SLOW, assert_ike, both_rekey, holder


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
