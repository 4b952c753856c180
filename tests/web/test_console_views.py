"""What the pages show, from statuses made by hand."""

from dataclasses import replace

import pytest

from gateway.ike.attempts import Outcome, Step, StepTaken
from gateway.policy.authentication import LocalAuth, Method, RemoteAuth
from gateway.policy.identities import IdentityPattern
from gateway.service.status import Status, TunnelState
from tests.web import console_samples as samples
from web.console.views import attempts, events, keys, tunnels
from web.console.views.overview import overview
from web.console.views.sessions import sessions


def with_states(*states: TunnelState) -> Status:
    peers = tuple(samples.peer(f"p{n}", state, "some cause") for n, state in enumerate(states))
    return replace(samples.STATUS, peers=peers, ike_sas=())


UP, DEGRADED, CONNECTING = TunnelState.UP, TunnelState.DEGRADED, TunnelState.CONNECTING
DOWN, WAITING, DISABLED = TunnelState.DOWN, TunnelState.WAITING, TunnelState.DISABLED


@pytest.mark.parametrize(
    ("states", "truth", "tone"),
    [
        ((), "No tunnel is set up yet", "disabled"),
        ((DISABLED,), "Every tunnel is disabled", "disabled"),
        ((UP,), "The tunnel is up", "up"),
        ((UP, UP), "Both tunnels are up", "up"),
        ((UP, UP, UP), "All 3 tunnels are up", "up"),
        ((UP, UP, WAITING), "Both tunnels are up, 1 waiting", "up"),
        ((WAITING,), "The tunnel is waiting", "waiting"),
        ((UP, DOWN), "1 of 2 tunnels is down", "down"),
        ((UP, DOWN, DOWN, DISABLED), "2 of 3 tunnels are down", "down"),
        ((DOWN,), "The tunnel is down", "down"),
        ((UP, DEGRADED, CONNECTING), "1 of 3 tunnels is only partly up", "degraded"),
        ((UP, CONNECTING), "1 of 2 tunnels is still connecting", "connecting"),
    ],
)
def test_the_overview_says_the_worst_in_one_sentence(states: tuple[TunnelState, ...], truth: str, tone: str) -> None:
    view = overview(with_states(*states), [], samples.NOW)
    assert (view.truth, view.tone.css) == (truth, tone)


def test_what_needs_attention_comes_worst_first_with_cause_and_way() -> None:
    status = replace(samples.STATUS, problems=("IKE does not run: port 500 is taken",))
    found = overview(status, [samples.KNOCK, samples.MISMATCH], samples.NOW).attention
    assert [item.subject for item in found] == ["This gateway", "partner", "acme", "hotel", "198.18.66.6:500"]
    partner = found[1]
    assert partner.text == "The peer chose none of our algorithms."
    assert partner.address == "/attempts/7"
    assert partner.advice.startswith("Give both sides")


def test_a_gateway_whose_tunnels_all_work_needs_no_attention() -> None:
    assert overview(with_states(UP, WAITING, DISABLED), [], samples.NOW).attention == ()


def test_the_list_begins_with_trouble_and_has_its_cause() -> None:
    rows = tunnels.tunnel_rows(samples.STATUS, samples.snapshot().peers)
    assert [row.name for row in rows] == ["partner", "acme", "hotel", "geneva", "old", "roaming"]
    assert rows[0].reason == "the peer chose none of our algorithms"
    assert rows[0].networks == (("10.1.0.0/16", "10.44.0.0/24"),)
    assert rows[0].remote == "203.0.113.44"
    assert rows[-1].remote == "calls us"
    assert next(row for row in rows if row.name == "old").reason == ""


@pytest.mark.parametrize(
    ("query", "state", "names"),
    [
        ("GENEVA", "", ["geneva"]),
        ("172.16.", "", ["acme"]),
        ("none of our", "", ["partner"]),
        ("", "down", ["partner"]),
        ("", "no such state", []),
        ("10.1.", "up", ["geneva"]),
        ("no such thing", "", []),
    ],
)
def test_the_list_is_searched_in_everything_that_it_shows(query: str, state: str, names: list[str]) -> None:
    rows = tunnels.tunnel_rows(samples.STATUS, samples.snapshot().peers, query, state)
    assert [row.name for row in rows] == names


def test_a_tunnel_shows_what_is_wanted_beside_what_was_agreed() -> None:
    peers = samples.snapshot().peers
    acme = tunnels.tunnel(samples.STATUS, "acme", peers["acme"])
    geneva = tunnels.tunnel(samples.STATUS, "geneva", peers["geneva"])
    assert acme is not None
    assert geneva is not None
    net, storage = acme.networks
    assert net.narrowed
    assert net.sa == samples.ACME_NET
    assert net.remote == ("172.16.8.0/22",)
    assert "none come back" in net.one_way
    assert not storage.narrowed
    assert storage.sa is None
    assert not geneva.networks[0].narrowed
    assert geneva.networks[0].one_way == ""
    assert geneva.established
    assert tunnels.tunnel(samples.STATUS, "nobody", None) is None


def test_tunnels_that_the_engine_does_not_know_are_down_not_absent() -> None:
    dead = replace(samples.STATUS, peers=(), ike_sas=())
    status = tunnels.complete(dead, samples.snapshot())
    states = {peer.name: peer.state for peer in status.peers}
    assert states.keys() == samples.inventory().peers.keys()
    assert states["geneva"] is DOWN
    assert states["old"] is DISABLED
    assert tunnels.complete(samples.STATUS, samples.snapshot()) is samples.STATUS


def test_the_checklist_ends_where_the_negotiation_ended() -> None:
    rows = attempts.checklist(samples.MISMATCH)
    assert [row.kind for row in rows] == ["done", "failed", "ahead", "ahead", "ahead", "ahead"]
    assert rows[1].text == "the peer chose none of our algorithms"
    assert rows[0].after == pytest.approx(0.05, abs=1e-6)


def test_the_checklist_of_a_running_attempt_shows_the_step_it_is_at() -> None:
    running = replace(samples.MISMATCH, outcome=Outcome.RUNNING, steps=samples.MISMATCH.steps[:1])
    assert [row.kind for row in attempts.checklist(running)] == ["done", "running", *["ahead"] * 4]


def test_a_step_that_nobody_noted_was_passed_when_a_later_one_was() -> None:
    late = StepTaken(Step.IDENTITY, done=True, at=samples.NOW)
    done = replace(samples.MISMATCH, outcome=Outcome.ESTABLISHED, steps=[samples.MISMATCH.steps[0], late])
    assert [row.kind for row in attempts.checklist(done)] == ["done"] * 4 + ["ahead"] * 2


def test_words_that_the_other_side_lacks_are_marked() -> None:
    rows = attempts.compare(("aes256gcm16-prfsha256-x25519",), ("aes256gcm16-prfsha256-modp2048", "aes128gcm16-x448"))
    assert rows[0][0].words == (("aes256gcm16", False), ("prfsha256", False), ("x25519", True))
    assert rows[0][1].words == (("aes256gcm16", False), ("prfsha256", False), ("modp2048", True))
    assert rows[1][0].words == ()
    assert rows[1][1].words == (("aes128gcm16", True), ("x448", True))


def test_networks_are_compared_whole() -> None:
    rows = attempts.compare(("10.1.0.0-10.1.0.9",), ("10.2.0.0/24",))
    assert rows[0][0].words == (("10.1.0.0-10.1.0.9", True),)
    assert rows[0][1].words == (("10.2.0.0/24", True),)


def test_attempts_are_searched() -> None:
    both = [samples.KNOCK, samples.MISMATCH]
    assert [a.id for a, _ in attempts.attempt_rows(both, "198.18")] == [9]
    assert [a.id for a, _ in attempts.attempt_rows(both, "PARTNER", "failed")] == [7]
    assert attempts.attempt_rows(both, "", "established") == ()


def test_sessions_are_searched_and_counted() -> None:
    assert sessions(samples.STATUS).total == 5
    found = sessions(samples.STATUS, "c0ffee01 ".strip())
    assert [sa.id for sa, _ in found.ike_sas] == []
    assert {sa.id for sa, _ in found.child_sas} == {11, 12}
    assert [sa.id for sa, _ in sessions(samples.STATUS, "geneva.example").ike_sas] == [4]
    assert [sa.id for sa, _ in sessions(samples.STATUS, "staff").ike_sas] == [5]


def test_a_session_whose_peer_was_refused_its_child_is_not_shown_as_one_that_works() -> None:
    alone = replace(samples.GENEVA, children=(), refusal="the pool office is full")
    status = replace(samples.STATUS, ike_sas=(alone, samples.ACME))
    words = {sa.id: (shown.word, shown.css) for sa, shown in sessions(status).ike_sas}
    assert words == {4: ("No child SA", "down"), 5: ("Established", "up")}
    page = tunnels.tunnel(status, "geneva", None)
    assert page is not None and [row.state.word for row in page.ike_sas] == ["No child SA"]


def test_events_match_when_every_word_occurs() -> None:
    assert [r.id for r in events.matching(samples.RECORDS, "acme installed")] == [2]
    assert [r.id for r in events.matching(samples.RECORDS, topic="ike-sa")] == [1]
    assert [r.id for r in events.matching(samples.RECORDS, peer="geneva")] == [1]
    assert events.matching(samples.RECORDS, "acme closed") == []


def test_a_side_without_networks_is_for_a_virtual_address() -> None:
    geneva = samples.snapshot().peers["geneva"]
    wanted = replace(geneva, children=(replace(geneva.children[0], remote=()),))
    shown = tunnels.tunnel(replace(samples.STATUS, ike_sas=()), "geneva", wanted)
    assert shown is not None
    assert (shown.networks[0].local, shown.networks[0].remote) == (("10.1.0.0/16",), ("virtual address",))


def test_a_key_names_the_tunnels_that_it_proves() -> None:
    snapshot = samples.snapshot()
    assert keys.peers_of_key(snapshot, "geneva") == ("geneva",)
    assert keys.peers_of_key(snapshot, "stranger") == ()
    assert set(keys.peers_of_key(snapshot, "anybody")) == {"acme", "hotel", "old", "partner", "roaming"}


def test_a_tunnel_without_pre_shared_keys_uses_none() -> None:
    snapshot = samples.snapshot()
    hotel = replace(
        snapshot.peers["hotel"],
        remote_id=IdentityPattern.parse("%any"),
        local_auth=(LocalAuth(Method.CERTIFICATE),),
        remote_auth=(RemoteAuth(Method.CERTIFICATE),),
    )
    assert keys.keys_of_peer(snapshot, hotel) == ()
    assert keys.keys_of_peer(snapshot, replace(hotel, remote_auth=(RemoteAuth(),))) != ()


@pytest.mark.parametrize(
    ("text", "css", "says"),
    [
        ("aes256gcm16-prfsha384-x25519", "strong", "at least 128 bits"),
        ("aes256gcm16-prfsha384-ecp384", "strong", "at least 192 bits"),
        ("aes256-sha256-modp2048", "fair", "at least 112 bits"),
        ("aes128-sha1-modp2048", "weak", "weak: sha1, prfsha1"),
        ("aes256gcm16-prfsha384-x25519-des", "weak", "is no algorithm we know"),
    ],
)
def test_a_suite_is_as_strong_as_its_weakest_part(text: str, css: str, says: str) -> None:
    suite = keys.verdict(text, "ike")
    assert suite.css == css
    assert says in suite.verdict
    assert suite.invalid is ("no algorithm" in says)


def test_picks_become_suites_that_parse() -> None:
    picked = ["aes256gcm16", "aes256", "sha256", "prfsha256", "x25519"]
    found = keys.suites_of_picks(picked, "ike")
    assert found == ["aes256gcm16-prfsha256-x25519", "aes256-sha256-prfsha256-x25519"]
    assert not any(keys.verdict(text, "ike").invalid for text in found)
    assert keys.suites_of_picks([], "ike") == []
    for protocol in ("ike", "esp"):
        offered = {row.keyword for _, rows in keys.picks(protocol) for row in rows}
        assert ("prfsha256" in offered) is (protocol == "ike")
