"""Exchanges of a CHILD_SA that meet, each order of their messages a case of its own (RFC 7296 2.8.1, 2.8.2, 2.25).

In the ladders A is on the left. (a) and (b) are the SAs that A's and B's own exchange makes, (o) is the old one.
"""

from tests.simulation.agreement import established
from tests.simulation.crossings import (
    HIGH,
    LOW,
    MIDDLE,
    assert_carries,
    both_rekey,
    childless,
    cross,
    finish,
    sends_on,
    whose,
)
from tests.simulation.ladders import CHILD, INFO, Ladder


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
