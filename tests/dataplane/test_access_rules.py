"""The nftables rules of access profiles as they lie in a network namespace, whatever else happens there."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dataplane.access_rules import AccessRules
from gateway.dataplane.netfilter import Tables, input_table
from gateway.ike.plane import AddressRules, LayRules, LiftRules, Refused
from gateway.ike.plane_events import PlaneEvent, RulesLost
from gateway.policy.selectors import Selector
from tests.lab.namespaces import Namespace, Network

pytestmark = pytest.mark.requires("root", "netns", "ping")

WEB = (Selector.parse("10.1.0.1/32"), Selector.parse("10.1.0.2/32[tcp/443]"), Selector.parse("fd01::/64"))
ANNA, BERT = AddressRules("10.9.0.2", WEB, strict=True), AddressRules("fd00::9", None, masquerade=True)


@pytest.fixture
def scene() -> Iterator[tuple[Namespace, Namespace]]:
    """What arrives by the gateway's one cable counts as out of a tunnel."""
    with Network() as network:
        gate, user = network.namespace("gate"), network.namespace("user")
        network.link(gate, user, "10.9.0.1/24", "10.9.0.2/24 10.9.0.3/24")
        gate.address("lo", "10.1.0.1/32", "10.1.0.2/32")
        user.route("10.1.0.0/24", "via", "10.9.0.1")
        yield gate, user


@pytest.fixture
def rules(scene: tuple[Namespace, Namespace]) -> Iterator[AccessRules]:
    with scene[0].entered():
        made = AccessRules("7", 'iifname "to-user"', 'oifname != "to-user"')
    yield made
    made.close()


def listed(gate: Namespace) -> str:
    return gate.run("nft", "list", "ruleset").stdout


def look(rules: AccessRules) -> None:
    """Have the counters read, and what was read be taken up."""
    for _ in range(2):
        rules.counters()
        time.sleep(0.3)


def test_only_what_is_allowed_comes_in_and_all_is_counted(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    gate, user = scene
    rules.obey([LayRules(ANNA)])
    assert user.ping("10.1.0.1", source="10.9.0.2")
    assert not user.ping("10.1.0.2", source="10.9.0.2", wait=0.5)
    assert user.ping("10.1.0.2", source="10.9.0.3"), "others have no rules"
    assert gate.ping("10.9.0.2", source="10.1.0.2"), "what we begin is answered"
    look(rules)
    counted = rules.counters()["10.9.0.2"]
    assert (counted.passed_packets, counted.dropped_packets) == (2, 1)
    assert (counted.passed_octets, counted.dropped_octets) == (168, 84)


def test_new_rules_take_the_place_of_the_old_and_go_on_counting(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    gate, user = scene
    rules.obey([LayRules(ANNA), LayRules(BERT)])
    assert not user.ping("10.1.0.2", source="10.9.0.2", wait=0.5)
    rules.obey([LayRules(ANNA._replace(allowed=None))])
    assert user.ping("10.1.0.2", source="10.9.0.2")
    assert "tcp dport" not in listed(gate), "the chain that nobody needs any more is gone"
    look(rules)
    counted = rules.counters()["10.9.0.2"]
    assert (counted.passed_packets, counted.dropped_packets) == (1, 1)
    assert not rules.shortcomings()


def test_what_is_lifted_holds_no_longer_and_a_newcomer_is_counted_anew(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    gate, user = scene
    rules.obey([LayRules(ANNA), LayRules(BERT)])
    assert user.ping("10.1.0.1", source="10.9.0.2")
    rules.obey([LiftRules("10.9.0.2"), LiftRules("10.9.9.9")])
    look(rules)
    assert user.ping("10.1.0.2", source="10.9.0.2"), "who comes without a profile has none of the rules before him"
    assert "10.9.0.2" not in listed(gate) and "fd00::9" in listed(gate)
    assert set(rules.counters()) == {"fd00::9"}
    rules.obey([LiftRules("fd00::9")])
    rules.obey([LayRules(ANNA._replace(masquerade=True))])
    assert "fd00::9" not in listed(gate)
    look(rules)
    assert rules.counters()["10.9.0.2"].passed_packets == 0


def test_whoever_has_an_address_next_is_not_told_what_the_one_before_did(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    _, user = scene
    rules.obey([LayRules(ANNA)])
    assert user.ping("10.1.0.1", source="10.9.0.2")
    look(rules)
    assert rules.counters()["10.9.0.2"].passed_packets == 1
    rules.obey([LiftRules("10.9.0.2")])
    rules.obey([LayRules(ANNA)])
    assert "10.9.0.2" not in rules.counters(), "nor by a reading that was under way"
    look(rules)
    assert rules.counters()["10.9.0.2"].passed_packets == 0


def test_who_comes_does_not_wait_until_thousands_are_listed(rules: AccessRules) -> None:
    crowd = [ANNA._replace(address=f"10.{9 + n // 65536}.{n // 256 % 256}.{n % 256}") for n in range(1000, 7000)]
    rules.obey([LayRules(one) for one in crowd])
    rules.counters()
    began = time.monotonic()
    rules.obey([LayRules(ANNA)])
    under_way = rules._reading
    assert under_way is not None and not under_way.done()
    assert time.monotonic() - began < 0.3


def test_rules_that_somebody_flushed_are_laid_again(scene: tuple[Namespace, Namespace], rules: AccessRules) -> None:
    gate, user = scene
    rules.obey([LayRules(ANNA._replace(masquerade=True))])
    gate.run("nft", "flush", "ruleset")
    look(rules)
    rules.counters()
    assert not user.ping("10.1.0.2", source="10.9.0.2", wait=0.5)
    assert "masquerade" in listed(gate)
    gate.run("nft", "flush", "ruleset")
    gate.run("nft", "add", "table", "inet", "ikegate_access_7")
    look(rules)
    rules.counters()
    assert not user.ping("10.1.0.2", source="10.9.0.2", wait=0.5)
    gate.run("nft", "flush", "ruleset")
    rules.obey([LayRules(BERT)])
    assert "10.9.0.2" in listed(gate)


def test_what_counted_is_read_in_parts_and_nothing_else_is(rules: AccessRules, monkeypatch: pytest.MonkeyPatch) -> None:
    rules.obey([LayRules(ANNA), LayRules(BERT)])
    read: list[str] = []
    call = rules._nft._call

    def noting(words: list[str], script: str = "") -> Any:
        read.append(" ".join(words))
        return call(words, script)

    monkeypatch.setattr(rules._nft, "_call", noting)
    look(rules)
    assert rules.counters().keys() == {ANNA.address, BERT.address}
    sets = {
        f"-j list set inet ikegate_access_7 {what}{version}" for what in ("passed", "dropped") for version in (4, 6)
    }
    assert set(read) == sets


def test_nobody_waits_until_thousands_are_laid_again(
    scene: tuple[Namespace, Namespace], rules: AccessRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, _ = scene
    rules.obey([LayRules(ANNA)])
    replace = rules._nft.replace

    def slowly(*words: Any) -> str:
        time.sleep(1.5)
        return replace(*words)

    gate.run("nft", "flush", "ruleset")
    rules.counters()
    time.sleep(0.3)
    monkeypatch.setattr(rules._nft, "replace", slowly)
    began = time.monotonic()
    rules.counters()
    rules.counters()
    assert time.monotonic() - began < 0.7
    assert "10.9.0.2" not in listed(gate)
    rules.obey([LiftRules(ANNA.address), LayRules(BERT)])  # in the order in which it was wanted
    assert "fd00::9" in listed(gate) and "10.9.0.2" not in listed(gate)
    look(rules)
    assert rules.counters().keys() == {"fd00::9"}


async def test_strict_rules_that_cannot_be_laid_again_are_told_as_lost(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    gate, _ = scene
    heard: list[PlaneEvent] = []
    rules.listen(heard.append)
    rules.obey([LayRules(ANNA), LayRules(BERT)])
    gate.run("nft", "flush", "ruleset")
    look(rules)
    rules.counters()
    await asyncio.sleep(0)
    assert not heard, "they are laid again"
    gate.run("nft", "flush", "ruleset")
    with gate.entered():
        other = Tables()
    other.commit(input_table("ikegate_access_7", 0, 4, 1))  # nobody else may change it
    look(rules)
    rules.counters()
    await asyncio.sleep(0)
    other.close()
    (lost,) = set(heard)
    assert isinstance(lost, RulesLost)
    assert lost.addresses == {"10.9.0.2"}
    assert "not permitted" in lost.why


async def test_strict_rules_that_lie_there_are_not_lost_though_others_cannot_be_laid(rules: AccessRules) -> None:
    heard: list[PlaneEvent] = []
    rules.listen(heard.append)
    rules.obey([LayRules(ANNA)])
    rules.obey([LayRules(BERT._replace(address="nowhere.invalid"))])
    look(rules)
    rules.counters()
    await asyncio.sleep(0)
    assert rules.shortcomings()
    assert not heard


def test_what_the_user_began_is_no_answer_though_its_connection_is_forgotten(
    scene: tuple[Namespace, Namespace], rules: AccessRules
) -> None:
    gate, user = scene
    rules.obey([LayRules(ANNA._replace(allowed=None))])
    with gate.entered():
        server = socket.create_server(("10.1.0.2", 443))
    with user.entered():
        client = socket.socket()
    with server, client:
        client.bind(("10.9.0.2", 0))
        client.connect(("10.1.0.2", 443))
        connection, _ = server.accept()
        rules.obey([LayRules(ANNA._replace(allowed=WEB[:1]))])
        gate.forget_connections()
        with connection:
            connection.send(b"is anybody there")  # again and again, as nothing acknowledges it
            time.sleep(1.5)
            look(rules)
            before = rules.counters()["10.9.0.2"]
            client.send(b"here I am")
            time.sleep(1)
            look(rules)
            after = rules.counters()["10.9.0.2"]
        assert after.passed_packets == before.passed_packets
        assert after.dropped_packets > before.dropped_packets


def test_nothing_stays_behind(scene: tuple[Namespace, Namespace]) -> None:
    gate, _ = scene
    with gate.entered():
        killed, following = (AccessRules("7", 'iifname "to-user"', 'oifname != "to-user"') for _ in range(2))
    assert listed(gate) == "", "without a profile there is no table"
    killed.obey([LayRules(ANNA)])
    following.sweep()
    assert listed(gate) == ""
    following.obey([LayRules(BERT)])
    following.close()
    assert listed(gate) == ""
    killed.close()


def test_without_nft_strict_rules_are_refused_and_the_others_told(
    scene: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dataplane.nft.shutil.which", lambda *_, **__: None)
    with scene[0].entered():
        rules = AccessRules("7", 'iifname "to-user"', 'oifname != "to-user"')
    with pytest.raises(Refused, match="cannot be laid: the command nft is not installed here"):
        rules.obey([LayRules(ANNA)])
    assert rules.shortcomings() == []
    rules.obey([LayRules(BERT)])
    (told,) = rules.shortcomings()
    assert "kept to by selectors alone: the command nft is not installed here" in told
    assert rules.counters() == {}
    rules.close()


def test_rules_that_lie_there_are_not_told_as_missing_because_others_were_refused(rules: AccessRules) -> None:
    rules.obey([LayRules(ANNA)])
    with pytest.raises(Refused, match="cannot be laid: nft says"):
        rules.obey([LayRules(ANNA._replace(address="nowhere.invalid"))])
    look(rules)
    rules.counters()
    assert rules.shortcomings() == []


def test_a_kernel_without_nat_filters_all_the_same_and_it_is_told(scene: tuple[Namespace, Namespace]) -> None:
    gate, user = scene
    with gate.entered():
        rules = AccessRules("7", 'iifname "to-user"', "which no nft knows")
    rules.obey([LayRules(ANNA._replace(masquerade=True))])
    (told,) = rules.shortcomings()
    assert told.startswith("nothing is masqueraded, so that hosts without a way back do not answer: nft says Error")
    assert not user.ping("10.1.0.2", source="10.9.0.2", wait=0.5)
    rules.obey([LayRules(ANNA)])
    assert rules.shortcomings() == []
    rules.close()
