"""Tickets: sealed, short-lived, good once, and worth nothing after a change (RFC 5723 6)."""

import random
from dataclasses import replace

import pytest

from gateway.ike.tickets import LONGEST_LIFETIME, KeptTicket, Ticket, Tickets
from gateway.policy.choice import Chosen, choose
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import Protocol
from tests.ike.strangers import anybody
from tests.simulation.network import psk

OURS, THEIRS = Identity.parse("right.example"), Identity.parse("left.example")
UNIX = 1_700_000_000.0


def chosen(text: str) -> Chosen:
    proposal = Proposal.parse(text, Protocol.IKE)
    found = choose((proposal,), [proposal.to_wire(1, b"")])
    assert found is not None
    return found


def box(seed: int = 1, secret: bytes = b"s" * 32) -> Tickets:
    return Tickets(secret, random.Random(seed).randbytes, UNIX)


def ticket(lifetime: float = 3600.0, text: str = "aes256gcm16-prfsha256-x25519") -> Ticket:
    return Ticket(UNIX + lifetime, b"12345678", chosen(text), "office", b"f" * 16, b"d" * 32, THEIRS, OURS)


@pytest.mark.parametrize(
    "text", ["aes256gcm16-prfsha256-x25519", "aes128-sha256-modp2048", "chacha20poly1305-prfsha512-mlkem768"]
)
def test_what_is_sealed_comes_out_again(text: str) -> None:
    tickets, one = box(), ticket(text=text)
    sealed = tickets.seal(one, 0.0)
    found = tickets.open(sealed, 10.0)
    assert found is not None
    assert replace(found, number=b"") == one
    assert found.chosen.keywords == one.chosen.keywords
    for secret in (b"d" * 32, b"office", b"left.example"):
        assert secret not in sealed
    assert "dddd" not in repr(found)
    assert tickets.seal(one, 0.0) != sealed


def test_no_other_octets_open_anything() -> None:
    tickets = box()
    sealed = tickets.seal(ticket(), 0.0)
    chance = random.Random(2)
    for at in range(len(sealed)):
        assert (
            tickets.open(sealed[:at] + bytes((sealed[at] ^ 1 << chance.randrange(8),)) + sealed[at + 1 :], 0.0) is None
        )
        assert tickets.open(sealed[:at], 0.0) is None
    assert tickets.open(sealed + b"\0", 0.0) is None
    assert tickets.open(b"", 0.0) is None
    assert tickets.open(chance.randbytes(100_000), 0.0) is None
    assert box(secret=b"t" * 32).open(sealed, 0.0) is None
    assert Tickets(b"", chance.randbytes, UNIX).open(sealed, 0.0) is None
    assert tickets.open(sealed, 0.0) is not None


def test_a_ticket_expires_and_its_key_changes_by_the_day() -> None:
    tickets = box()
    sealed = tickets.seal(ticket(3600.0), 0.0)
    assert tickets.open(sealed, 3599.0)
    assert tickets.open(sealed, 3601.0) is None
    forever = tickets.seal(ticket(1e9), 0.0)
    assert tickets.open(forever, LONGEST_LIFETIME)
    assert tickets.open(forever, 2 * LONGEST_LIFETIME) is None
    assert tickets.open(forever, -LONGEST_LIFETIME) is None  # from tomorrow
    assert tickets.seal(ticket(), 0.0)[:4] != tickets.seal(ticket(), LONGEST_LIFETIME)[:4]


def test_a_restart_opens_what_was_sealed_before() -> None:
    sealed = box(1).seal(ticket(), 100.0)
    after = Tickets(b"s" * 32, random.Random(7).randbytes, UNIX + 100.0)  # the steady clock began anew
    assert after.open(sealed, 5.0)
    assert after.open(sealed, 3700.0) is None


def test_a_ticket_is_good_once_and_not_after_its_sa_was_deleted() -> None:
    tickets = box()
    sealed = tickets.seal(ticket(), 0.0)
    one, again = tickets.open(sealed, 0.0), tickets.open(sealed, 0.0)
    assert one and again
    assert tickets.use(one, 0.0)
    assert not tickets.use(again, 0.0)
    assert tickets.open(sealed, 0.0) is None
    other = tickets.seal(ticket(), 0.0)
    assert tickets.open(other, 0.0)
    tickets.ended(b"12345678", "office", 0.0, revoke=True)
    assert tickets.open(other, 0.0) is None


def test_what_is_remembered_is_bounded() -> None:
    tickets = box()
    for number in range(70_000):
        tickets.revoke(number.to_bytes(8), 0.0)
    assert len(tickets._gone) == 65_536
    tickets.revoke(b"a later", LONGEST_LIFETIME + 1)
    assert len(tickets._gone) == 1


def test_a_change_of_what_matters_makes_another_fingerprint() -> None:
    tickets, peer = box(), anybody()

    def mark(peer: Peer, secret: bytes = b"key") -> bytes:
        return tickets.fingerprint(Snapshot.build(1, [peer], [psk(secret)]), peer, OURS, THEIRS)

    before = mark(peer)
    assert mark(peer) == before
    for same in (replace(peer, description="x"), replace(peer, dpd_delay=7.0), replace(peer, children=())):
        assert mark(same) == before
    others = {
        mark(peer, b"another key"),
        mark(replace(peer, proposals=(Proposal.parse("aes128-sha256-modp2048", Protocol.IKE),))),
        mark(replace(peer, local_id=THEIRS)),
        mark(replace(peer, enabled=False)),
        mark(replace(peer, remote_addresses=("192.0.2.1",))),
    }
    assert before not in others
    assert len(others) == 5
    assert mark(peer) == before


def test_kept_tickets_are_used_before_they_expire_and_at_most_for_a_week() -> None:
    tickets = box()
    kept = KeptTicket(b"opaque", 0.0, b"12345678", "192.0.2.1", chosen("aes128-sha256-modp2048"), b"d", OURS, THEIRS)
    tickets.keep("office", kept, 3600.0, 0.0)
    assert tickets.usable("office", 3598.0) is kept
    assert tickets.usable("office", 3599.5) is None
    assert not tickets.kept
    tickets.keep("office", kept, 2.0**32 - 1, 0.0)
    assert kept.expires == 7 * 86_400
    tickets.ended(b"another ", "office", 0.0, revoke=False)
    assert tickets.usable("office", 0.0)
    tickets.ended(b"12345678", "office", 0.0, revoke=False)
    assert tickets.usable("office", 0.0) is None
