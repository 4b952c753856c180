"""What we made for the peer, which has not heard of it yet."""

from gateway.policy.peers import Retransmission
from tests.simulation.ladders import CHILD, Ladder
from tests.simulation.test_tunnel import assert_agree


def test_a_child_of_which_the_peer_has_not_heard_yet_is_kept_when_we_rekey_it() -> None:
    ladder = Ladder(retransmission=Retransmission(tries=6, base=4.0, factor=1.8, jitter=0.0))
    # A <-- N(REKEY_SA), Ni ; A -->x SA, Nr
    ladder.rekey(ladder.b, "net")
    ladder.request(ladder.b, CHILD)
    ladder.lose(ladder.a, CHILD, response=True)
    new = next(child for child in ladder.children(ladder.a) if child is not ladder.child)
    # A --> N(REKEY_SA) of the new one, which B cannot know ; A <-- N(CHILD_SA_NOT_FOUND)
    ladder.rekey(ladder.a, "net")
    assert ladder.request(ladder.a, CHILD)[0] == "N(REKEY_SA)"
    assert ladder.response(ladder.b, CHILD) == ["N(CHILD_SA_NOT_FOUND)"]
    assert not new.gone
    # A <-- the same again ; A --> SA, Nr ; and later the rekey that was wanted
    ladder.settle(60)
    assert_agree(ladder.a, ladder.b)
    assert ladder.only(ladder.a) is not new
