"""What we made for the peer, which has not heard of it yet."""

from gateway.ike.succession import patience
from gateway.policy.peers import Retransmission
from tests.simulation.agreement import assert_agree
from tests.simulation.ladders import CHILD, Ladder


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


def test_a_child_of_which_the_peer_will_never_hear_is_made_anew() -> None:
    """libreswan 4.10 drops our answer where its rekey crossed ours, and is silent about it."""
    ladder = Ladder(retransmission=Retransmission(tries=3, base=4.0, factor=1.8, jitter=0.0))
    # A <-- N(REKEY_SA), Ni ; A -->x SA, Nr ; B forgets that it asked
    ladder.rekey(ladder.b, "net")
    ladder.request(ladder.b, CHILD)
    ladder.lose(ladder.a, CHILD, response=True)
    ladder.b.engine.core.timers.cancel(("retransmit", ladder.other_old))
    ladder.other_old.requests.pending = None
    ladder.other_child.rekeying = False
    new = next(child for child in ladder.children(ladder.a) if child is not ladder.child)
    # A --> N(REKEY_SA) of the new one ; A <-- N(CHILD_SA_NOT_FOUND), again and again, as it might yet hear of it
    ladder.rekey(ladder.a, "net")
    ladder.settle(patience(ladder.old) - 1)
    assert not new.gone
    # A --> SA, Ni, KEi, TSi, TSr
    ladder.settle(12)
    assert new.gone
    assert_agree(ladder.a, ladder.b)
