"""Tickets of IKE SAs after several key exchanges or with a pre-shared key: as strong as before, and said so (RFC 5723).

RFC 9370 2.2.5 lets such an IKE SA be resumed; RFC 8784 3 forbids to mix the key in once more.
"""

from dataclasses import replace

import pytest

from gateway.crypto.keys import ike_keys, resumption_skeyseed
from gateway.ike.abilities import Ability
from gateway.ike.tickets import Ticket
from gateway.policy.choice import Chosen, choose
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer, PpkExchange
from gateway.policy.ppks import Ppk
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import key_exchange
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, KeMethod, NotifyType, Protocol
from tests.simulation.network import Host, Network, peer, psk
from tests.simulation.test_ppk import HYBRID, ONE, TWO, Keys
from tests.simulation.test_ppk_intermediate import THREE
from tests.simulation.test_resumption import RESUME, RIGHT, assert_agree, established, openings

CLASSICAL = (Proposal.parse("aes256gcm16-prfsha256-x25519", Protocol.IKE),)
MAY_FALL_BACK = (Proposal.parse("aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none", Protocol.IKE),)
EARLY, AUTH = PpkExchange.INTERMEDIATE, PpkExchange.AUTH
WITH = {"ppks": ("one",)}


def responder(**more: object) -> Peer:
    return replace(RIGHT, **more)  # type: ignore[arg-type]


def up(keys: Keys = (ONE,), **more: object) -> tuple[Network, Host, Host]:
    network = Network(1)
    a, b = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", **more)
    network.apply(b, Snapshot.build(1, [responder(**more)], [psk()], ppks=keys))
    network.apply(a, Snapshot.build(1, [left], [psk()], ppks=keys))
    network.run(2)
    assert_agree(a, b)
    return network, a, b


def told(host: Host) -> str:
    (sa,) = established(host)
    return key_exchange(sa)


def come_back(network: Network, a: Host, b: Host, keys: Keys = (ONE,), **more: object) -> list[int]:
    """The responder restarts with this configuration; what opened the next IKE SA."""
    network.reboot(b, Snapshot.build(1, [responder(**more)], [psk()], ppks=keys))
    carried = len(network.carried)
    network.run(120)
    return openings(network, carried)


KINDS: dict[str, tuple[dict[str, object], str]] = {
    "hybrid": ({"proposals": HYBRID}, "hybrid: X25519 and ML-KEM-768"),
    "three": ({"proposals": THREE}, "hybrid: NIST P-384 and ML-KEM-1024 and X25519"),
    "left out": ({"proposals": MAY_FALL_BACK}, "hybrid: X25519 and ML-KEM-768"),
    "a PPK in IKE_AUTH": ({**WITH, "ppk_exchange": AUTH}, "PPK: X25519 with a PPK"),
    "a PPK in IKE_INTERMEDIATE": ({**WITH, "ppk_exchange": EARLY}, "PPK: X25519 with a PPK in IKE_INTERMEDIATE"),
    "both": (
        {**WITH, "ppk_required": True, "proposals": HYBRID},
        "hybrid: X25519 and ML-KEM-768 with a PPK in IKE_INTERMEDIATE",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_by_its_ticket_and_says_what_of(kind: str) -> None:
    more, text = KINDS[kind]
    network, a, b = up(**more)
    assert told(a) == told(b) == text
    old = established(a)[0].keys
    assert come_back(network, a, b, **more) == [RESUME]
    assert_agree(a, b)
    assert told(a) == told(b) == f"{text}, of the IKE SA that it resumes"
    (sa,) = established(a)
    assert old is not None and sa.keys is not None and sa.keys.d != old.d
    exchanges = [data[18] for _, _, _, data in network.carried if len(data) > 18]
    assert exchanges.count(ExchangeType.IKE_INTERMEDIATE) == exchanges[: exchanges.index(RESUME)].count(
        ExchangeType.IKE_INTERMEDIATE
    ), "no key exchange is done again"
    assert come_back(network, a, b, **more) == [RESUME], "and again, by the ticket of the one that was resumed"
    assert told(a) == f"{text}, of the IKE SA that it resumes"
    network.perform(a, a.engine.rekey("right", None, network.now)[1])
    network.run(20)
    assert_agree(a, b)
    assert told(a) == told(b) == text, "a rekey has a key exchange of its own again"
    assert come_back(network, a, b, **more) == [RESUME]


def test_its_keys_are_made_of_the_old_sk_d_and_nothing_else() -> None:
    network, a, b = up(**KINDS["both"][0])
    old = established(a)[0]
    assert old.keys is not None and old.chosen is not None and old.chosen.prf is not None
    sk_d, chosen, prf = old.keys.d, old.chosen, old.chosen.prf
    network.reboot(b, Snapshot.build(1, [responder(**KINDS["both"][0])], [psk()], ppks=(ONE,)))
    for _ in range(100_000):
        network.run(0.005)
        if b.engine.core.extensions.resuming:
            break
    (half,) = [sa for sa in b.engine.ike_sas() if not sa.established]
    seed = resumption_skeyseed(prf, sk_d, half.nonce_i, half.nonce_r)
    spis = half.spi_i, half.spi_r
    assert half.keys == ike_keys(prf, seed, half.nonce_i, half.nonce_r, *spis, chosen.encr, chosen.integ)
    assert half.intermediate is None


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({"proposals": CLASSICAL}, {"proposals": HYBRID}, (ONE,)),
        ({"proposals": MAY_FALL_BACK}, {"proposals": THREE}, (ONE,)),
        ({}, {**WITH, "ppk_required": True}, (ONE,)),
        (WITH, {"ppks": ("two",), "ppk_required": True}, (TWO,)),
        (WITH, WITH, (Ppk("one", ONE.identity, bytes(32)),)),
        (WITH, {}, (ONE,)),
    ],
    ids=["hybrid alone", "other methods", "a PPK", "another PPK", "another secret", "none any more"],
)
def test_a_ticket_is_worth_nothing_where_more_or_something_else_is_asked_for(
    before: dict[str, object], after: dict[str, object], keys: Keys
) -> None:
    network, a, b = up(**before)
    opened = come_back(network, a, b, keys, **after)
    assert opened[:2] == [RESUME, ExchangeType.IKE_SA_INIT]
    assert b.engine.core.counters["resumed"] == 0
    assert b.engine.core.counters["tickets-refused"] >= 1


def test_the_caller_does_not_show_a_ticket_without_the_key_that_it_now_insists_on() -> None:
    network, a, b = up(ppks=())
    kept = a.engine.core.extensions.tickets.kept["right"]
    left = replace(a.engine.core.snapshot.peers["right"], ppks=("one",), ppk_required=True)
    network.apply(b, Snapshot.build(2, [responder(**WITH)], [psk()], ppks=(ONE,)))
    network.apply(a, Snapshot.build(2, [left], [psk()], ppks=(ONE,)))
    a.engine.core.extensions.tickets.kept["right"] = kept  # it was not dropped with the old configuration
    carried = len(network.carried)
    network.run(30)
    assert RESUME not in openings(network, carried)
    assert_agree(a, b)
    assert "with a PPK" in told(a)


@pytest.mark.parametrize("change", [Ability.NONE, Ability.USES_PPK])
def test_a_responder_asks_the_ticket_itself_for_the_key(change: Ability) -> None:
    """Though its configuration is the same: a ticket of ours that says it has none opens nothing."""
    network, a, b = up(**KINDS["both"][0])
    tickets = b.engine.core.extensions.tickets
    ticket = tickets.open(a.engine.core.extensions.tickets.kept["right"].ticket, network.now)
    assert ticket is not None and ticket.abilities == Ability.USES_PPK | Ability.MAY_USE_PPK_INT
    a.engine.core.extensions.tickets.kept["right"].ticket = tickets.seal(replace(ticket, abilities=change), network.now)
    come_back(network, a, b, **KINDS["both"][0])
    assert b.engine.core.counters["resumed"] == (1 if change else 0)
    assert_agree(a, b)


def test_who_comes_back_with_a_ticket_cannot_go_on_with_key_exchanges() -> None:
    """They were not announced anew (RFC 9242 4): IKE_INTERMEDIATE under the right keys ends the call."""
    network, a, b = up(proposals=HYBRID)
    network.reboot(b, Snapshot.build(1, [responder(proposals=HYBRID)], [psk()], ppks=(ONE,)))
    for _ in range(100_000):
        network.run(0.005)
        if b.engine.core.extensions.resuming:
            break
    (calling,) = [sa for sa in a.engine.ike_sas() if not sa.established]
    network.run(0.012)
    assert calling.protection is not None
    head = Message(calling.spi_i, calling.spi_r, ExchangeType.IKE_INTERMEDIATE, True, False, 1, [])
    (datagram,) = calling.protection.seal_within(head, [wire.KE(KeMethod.ML_KEM_768, bytes(1184))], None)
    (half,) = [sa for sa in b.engine.ike_sas() if not sa.established]
    network.perform(b, b.engine.receive(datagram, half.path, network.now))
    refused = b.engine.core.attempts.latest(1)[0]
    assert (refused.cause, refused.notify) == ("syntax", NotifyType.INVALID_SYNTAX)
    assert "not agreed on" in refused.reason
    network.run(120)
    assert_agree(a, b)


@pytest.mark.parametrize("proposals", [CLASSICAL, HYBRID, THREE, MAY_FALL_BACK])
@pytest.mark.parametrize("abilities", [Ability.NONE, Ability.USES_PPK, Ability.USES_PPK | Ability.MAY_USE_PPK_INT])
def test_a_ticket_says_all_that_its_keys_are_made_of(proposals: tuple[Proposal, ...], abilities: Ability) -> None:
    network, _, b = up()
    tickets = b.engine.core.extensions.tickets
    chosen = choose(proposals, [proposals[0].to_wire(1, b"")], additional=True)
    assert isinstance(chosen, Chosen)
    ends = Identity.parse("left.example"), Identity.parse("right.example")
    expires = tickets.unix(network.now) + 60
    made = Ticket(expires, b"8 octets", chosen, "left", bytes(16), bytes(48), *ends, abilities)
    sealed = tickets.seal(made, network.now)
    opened = tickets.open(sealed, network.now)
    assert opened is not None
    assert replace(opened, number=b"", chosen=chosen) == made
    assert (opened.chosen.keywords, opened.chosen.additional) == (chosen.keywords, chosen.additional)
    for at in range(0, len(sealed), 7):
        assert tickets.open(sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :], network.now) is None
