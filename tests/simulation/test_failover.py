"""A cluster's standby takes over with what it last heard of the IKE SA (RFC 6311).

In the ladders A is the cluster: its standby is A itself, set back to the numbers that it had some exchanges ago.
"""

from dataclasses import replace

import pytest

from gateway.ike import cluster
from gateway.ike.abilities import Ability
from gateway.ike.engine import Engine
from gateway.ike.plane import SkipSequence
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.proposals import Proposal
from gateway.wire.message import parse_header
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.agreement import assert_agree
from tests.simulation.ladders import CHILD, INFO, Ladder
from tests.simulation.network import Host, Weather

SYNC = ["N(IKEV2_MESSAGE_ID_SYNC)", "N(IPSEC_REPLAY_COUNTER_SYNC)"]


def numbers(sa: IkeSa) -> tuple[int, int]:
    """The next request that is ours, and the next that is the peer's."""
    return sa.requests.next_id, sa.responses.expected


def ask_often(ladder: Ladder, host: Host, times: int) -> None:
    """So many exchanges that the host begins, and that change nothing."""
    for _ in range(times):
        ladder.network.run(40)  # its DPD
    assert numbers(ladder.sa(host))[0] > times


def fail_over(ladder: Ladder, stale: tuple[int, int]) -> None:
    """A dies with all that it had under way, and its standby knows these numbers."""
    sa = ladder.sa(ladder.a)
    sa.requests.pending, sa.responses.last_response = None, ()
    sa.tasks.clear()
    sa.requests.next_id, sa.responses.expected = stale
    told, effects = ladder.a.engine.take_over("right", ladder.network.now)
    assert told == 1
    ladder.network.perform(ladder.a, effects)


def worn(**more: object) -> tuple[Ladder, tuple[int, int]]:
    """A ladder whose ends have spoken for a while, and the numbers that A's standby has of it."""
    ladder = Ladder(rekey_time=0.0, **more)
    stale = numbers(ladder.sa(ladder.a))
    ladder.network.let_go()
    ask_often(ladder, ladder.a, 3)
    ladder.network.holding = True
    return ladder, stale


def test_both_ends_say_that_they_can() -> None:
    ladder = Ladder()
    for host in (ladder.a, ladder.b):
        assert Ability.SYNCHRONISES_IDS | Ability.SYNCHRONISES_REPLAY in ladder.sa(host).abilities
    ladder.network.let_go()
    ladder.rekey(ladder.a)
    ladder.network.run(5)
    assert ladder.sa(ladder.a) is not ladder.old
    assert Ability.SYNCHRONISES_IDS in ladder.sa(ladder.b).abilities, "an IKE SA's successor can do what it could"


def test_without_it_a_failover_is_the_end_of_the_sa() -> None:
    """What RFC 6311 is there for: the numbers are used up, and nothing is answered."""
    ladder, stale = worn()
    sa = ladder.sa(ladder.a)
    sa.abilities = Ability.NONE
    sa.requests.pending, sa.requests.next_id, sa.responses.expected = None, *stale
    assert ladder.a.engine.take_over("right", ladder.network.now) == (0, [])
    ladder.network.let_go()
    ladder.network.run(200)
    assert sa.state is Lifecycle.CLOSED
    assert "the peer does not answer" in sa.reason


def test_the_numbers_go_on() -> None:
    ladder, stale = worn()
    a, b = ladder.sa(ladder.a), ladder.sa(ladder.b)
    ours, theirs = numbers(a)
    fail_over(ladder, stale)
    # A --> HDR(0), N(IKEV2_MESSAGE_ID_SYNC, nonce, M1, P1), N(IPSEC_REPLAY_COUNTER_SYNC)
    assert ladder.request(ladder.a, INFO) == SYNC
    letter = ladder.network.held[0]
    assert parse_header(letter.data).message_id == 0
    #   <-- HDR(0), N(IKEV2_MESSAGE_ID_SYNC, nonce, P2, M2)
    assert ladder.response(ladder.b, INFO) == SYNC[:1]
    assert numbers(a) == (stale[0] + 16, theirs)
    assert numbers(b) == (theirs, stale[0] + 16)
    assert numbers(a)[0] > ours
    ladder.settle(300)
    assert (ladder.sa(ladder.a), ladder.sa(ladder.b)) == (a, b), "both live on"
    assert_agree(ladder.a, ladder.b)


def test_esp_goes_on_with_numbers_that_were_not_used() -> None:
    ladder, stale = worn()
    fail_over(ladder, stale)
    ladder.request(ladder.a, INFO)
    for host in (ladder.a, ladder.b):
        (child,) = ladder.sa(host).children.values()
        skipped = [order for order in host.plane.orders if isinstance(order, SkipSequence)]
        assert skipped == [SkipSequence(child.outbound.key, 1 << 30)]
        assert host.plane.skipped() == {child.outbound.key: 1 << 30}
    ladder.settle()
    # RFC 6311 5.2: a rekey follows shortly
    assert ladder.only(ladder.a) is not ladder.child
    assert not ladder.a.plane.skipped()
    assert_agree(ladder.a, ladder.b)


def test_a_data_plane_that_cannot_skip_has_its_child_rekeyed() -> None:
    ladder, stale = worn()
    ladder.b.plane.fail_next("no such thing here")
    fail_over(ladder, stale)
    ladder.request(ladder.a, INFO)
    assert not ladder.b.plane.skipped()
    assert any("no such thing here" in event.text for event in ladder.b.events)
    ladder.settle()
    assert ladder.only(ladder.b) is not ladder.other_child
    assert_agree(ladder.a, ladder.b)


def test_what_the_peer_had_under_way_is_asked_again() -> None:
    """RFC 6311 9: it does not wait for a response to what the failed member may have heard."""
    ladder, stale = worn()
    b = ladder.sa(ladder.b)
    number = b.requests.next_id
    ladder.disconnect(ladder.b, "net")
    # <-- D(child), lost with the member that it went to
    ladder.lose(ladder.b, INFO)
    fail_over(ladder, stale)
    # A --> HDR(0), N(IKEV2_MESSAGE_ID_SYNC)
    ladder.request(ladder.a, INFO)
    assert b.requests.next_id == number + 1, "one more than the highest that B used"
    ladder.response(ladder.b, INFO)
    # <-- D(child) again, with a number of its own
    assert ladder.request(ladder.b, INFO) == ["Delete"]
    assert ladder.child.gone
    ladder.settle()
    assert ladder.other_child.gone
    assert ladder.sa(ladder.b) is b


@pytest.mark.parametrize("child", ["net", None])
def test_a_rekey_that_the_peer_had_under_way_is_begun_anew(child: str | None) -> None:
    ladder, stale = worn()
    ladder.rekey(ladder.b, child)
    # <-- SA, Ni, KEi, lost
    ladder.lose(ladder.b, CHILD)
    fail_over(ladder, stale)
    ladder.request(ladder.a, INFO)
    assert ladder.sa(ladder.b).requests.pending is None or ladder.sa(ladder.b).requests.pending.exchange == CHILD
    ladder.settle(400)
    assert_agree(ladder.a, ladder.b)
    if child:
        assert ladder.only(ladder.b) is not ladder.other_child
    assert len(ladder.a.engine.ike_sas()) == 1


def test_a_request_of_the_peers_that_comes_too_early_is_asked_again() -> None:
    """RFC 6311 8.1: the peer no longer waits for an answer to it, so that there must be none."""
    ladder, stale = worn()
    a, b = ladder.sa(ladder.a), ladder.sa(ladder.b)
    fail_over(ladder, (stale[0], b.requests.next_id))
    ladder.disconnect(ladder.b, "net")
    # A --> HDR(0) …  ><  <-- D(child)
    assert ladder.request(ladder.b, INFO) == ["Delete"]
    assert not ladder.child.gone
    ladder.request(ladder.a, INFO)
    ladder.settle(100)
    assert ladder.child.gone
    assert ladder.other_child.gone
    assert numbers(a) == numbers(b)[::-1]
    assert (ladder.sa(ladder.a), ladder.sa(ladder.b)) == (a, b)


def test_both_ends_fail_over_at_once() -> None:
    ladder, stale = worn()
    a, b = ladder.sa(ladder.a), ladder.sa(ladder.b)
    b.requests.next_id, b.responses.expected = 0, stale[0]
    told, effects = ladder.b.engine.take_over("left", ladder.network.now)
    ladder.network.perform(ladder.b, effects)
    fail_over(ladder, stale)
    # A --> HDR(0), N(IKEV2_MESSAGE_ID_SYNC)  ><  <-- HDR(0), N(IKEV2_MESSAGE_ID_SYNC)
    ladder.request(ladder.a, INFO)
    ladder.request(ladder.b, INFO)
    ladder.settle(100)
    assert told == 1
    assert (ladder.sa(ladder.a), ladder.sa(ladder.b)) == (a, b)
    assert numbers(a) == numbers(b)[::-1]
    assert_agree(ladder.a, ladder.b)


def test_a_standby_far_behind_asks_until_it_is_ahead() -> None:
    """The peer is silent to a number that was used; each try has a higher one."""
    ladder, stale = worn()
    ladder.sa(ladder.b).responses.expected = stale[0] + 5000
    fail_over(ladder, stale)
    ladder.settle(100)
    assert ladder.sa(ladder.a).requests.next_id >= stale[0] + 5000
    assert ladder.a.engine.core.established("right") is not None
    assert_agree(ladder.a, ladder.b)


@pytest.mark.parametrize("seed", range(20))
def test_it_comes_to_an_end_over_a_bad_network(seed: int) -> None:
    ladder = Ladder(seed, rekey_time=0.0)
    network = ladder.network
    stale = numbers(ladder.sa(ladder.a))
    network.let_go()
    network.weather = Weather(0.2, 0.2, 0.05, 0.5)
    network.run(100 + seed)
    if (sa := ladder.a.engine.core.established("right")) is not None and not sa.requests.busy:
        fail_over(ladder, (min(stale[0], sa.requests.next_id), min(stale[1], sa.responses.expected)))
        network.run(60)
    network.weather = Weather()
    network.run(300)
    assert_agree(ladder.a, ladder.b)


def test_no_iv_is_used_twice() -> None:
    """RFC 6311 3.4: the standby does not know how often its predecessor has used the key."""
    ladder, stale = worn()
    protection = ladder.sa(ladder.a).protection
    assert protection is not None
    protection._iv = 2  # as it was when the standby heard of it
    fail_over(ladder, stale)
    ladder.settle(100)
    sent = {
        data  # what is asked again has the same octets
        for _, source, _, data in ladder.network.carried
        if source == ladder.a.address and parse_header(data).exchange != ExchangeType.IKE_SA_INIT
    }
    assert len(sent) == len({data[32:40] for data in sent})


def test_a_peer_that_says_nothing_of_it_gets_no_such_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6311 5: the responder asserts no support that the initiator did not."""
    said = {"N(IKEV2_MESSAGE_ID_SYNC_SUPPORTED)", "N(IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED)"}
    assert {True: said, False: said} == told_in_auth(Ladder(), said)
    monkeypatch.setattr(cluster, "offer", list)
    ladder = Ladder()
    assert {True: set(), False: set()} == told_in_auth(ladder, said)
    assert Ability.SYNCHRONISES_IDS not in ladder.sa(ladder.b).abilities


def told_in_auth(ladder: Ladder, names: set[str]) -> dict[bool, set[str]]:
    """Which of these notifies were in B's IKE_AUTH response (True), and in the request (False)."""
    messages = [one for attempt in ladder.a.engine.core.attempts.latest(9) for one in attempt.messages]
    auth = [one for one in messages if one.exchange == ExchangeType.IKE_AUTH]
    return {one.response: names.intersection(one.payloads) for one in auth}


def test_only_what_stands_can_be_taken_over() -> None:
    ladder = Ladder()
    engine: Engine = ladder.a.engine
    sa = ladder.sa(ladder.a)
    assert engine.take_over("nobody", ladder.network.now) == (0, [])
    ladder.rekey(ladder.a, "net")
    assert engine.take_over("right", ladder.network.now) == (0, []), "a request of this very process is under way"
    sa.state = Lifecycle.DELETING
    assert engine.take_over("right", ladder.network.now) == (0, [])


def test_a_child_of_extended_numbers_is_told_so() -> None:
    esn = (Proposal.parse("aes256gcm16-x25519-esn", Protocol.ESP),)
    ladder = Ladder(rekey_time=0.0)
    for host in (ladder.a, ladder.b):
        snapshot = host.engine.core.snapshot
        peers = [
            replace(peer, children=tuple(replace(child, proposals=esn) for child in peer.children))
            for peer in snapshot.peers.values()
        ]
        ladder.network.let_go()
        ladder.network.apply(host, type(snapshot).build(2, peers, snapshot.psks, snapshot.settings))
    ladder.network.run(30)
    assert ladder.only(ladder.a).outbound.esn
    ladder.network.holding = True
    fail_over(ladder, numbers(ladder.sa(ladder.a)))
    letter = ladder.network.take(ladder.a, INFO)
    notify = ladder.network.read(letter).notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC)
    assert notify is not None
    assert len(notify.data) == 8
    ladder.network.deliver(letter)
    assert ladder.b.plane.skipped() == {ladder.only(ladder.b).outbound.key: 1 << 30}
    ladder.settle()
    assert ladder.only(ladder.b).rekeys == 0, "its numbers last"
