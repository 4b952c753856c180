"""Two CHILD_SAs for the same packets, of which the peer has deleted none: one stays, and nothing is lost over it."""

import pytest

from gateway.policy.peers import Retransmission
from tests.simulation.crossings import assert_carries, finish, sends_on
from tests.simulation.exploration import Story, explore
from tests.simulation.ladders import CHILD, INFO, Ladder

VERY_SLOW = Retransmission(tries=6, base=100.0, factor=1.8, jitter=0.0)
TWINS = 30.0
"""After so many seconds one of two is one too many."""


def rekeyed_without_an_end(ladder: Ladder) -> None:
    """B rekeys, and its delete of the old CHILD_SA is held back."""
    ladder.rekey(ladder.b, "net")
    ladder.request(ladder.b, CHILD)
    ladder.response(ladder.a, CHILD)
    assert len(ladder.children(ladder.a)) == 2


def test_a_rekey_under_way_is_no_pair_that_stands_for_long() -> None:
    """Else we delete what we send on, and the peer loses what is under way to it."""
    ladder = Ladder(retransmission=VERY_SLOW)
    rekeyed_without_an_end(ladder)
    ladder.request(ladder.b, INFO)
    ladder.response(ladder.a, INFO)
    ladder.network.run(TWINS - 1)
    rekeyed_without_an_end(ladder)
    # half a minute after the first pair there is another one, which is two seconds old: A leaves it to B
    ladder.network.run(2)
    assert not [letter for letter in ladder.network.held if letter.sender == "left"]
    assert_carries(ladder)
    # but not for ever
    ladder.network.run(TWINS - 3)
    assert not [letter for letter in ladder.network.held if letter.sender == "left"]
    ladder.network.run(1.1)
    assert [letter.sender for letter in ladder.network.held] == ["right", "left"]


def test_who_deletes_what_it_sends_on_sends_on_the_other_one_before() -> None:
    ladder = Ladder(retransmission=VERY_SLOW)
    rekeyed_without_an_end(ladder)
    old = sends_on(ladder.a)
    ladder.network.run(TWINS + 0.1)
    # A --> D(o)
    assert [letter.sender for letter in ladder.network.held] == ["right", "left"]
    assert sends_on(ladder.a) != old
    assert ladder.request(ladder.a, INFO) == ["Delete"]
    assert_carries(ladder)
    finish(ladder, made_by=ladder.b)


@pytest.mark.parametrize("seed", [2710, 2989, 6670, 9147])
def test_rekeys_do_not_keep_two_from_their_end(seed: int) -> None:
    """Networks in which each of two is rekeyed before it is half a minute old: they stand for longer all the same."""
    explore(Story(seed))
