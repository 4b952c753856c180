"""What is demanded against quantum computers: when, and what is left of the proposals under it."""

import pytest

from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand, PostQuantum, classical, under
from gateway.service.seeds import MODERN_IKE, MODERN_PQ_IKE
from gateway.wire.numbers import Protocol

BASE = "aes256gcm16-prfsha256-"


def ike(*endings: str) -> tuple[Proposal, ...]:
    return tuple(Proposal.parse(BASE + ending, Protocol.IKE) for ending in endings)


def endings(proposals: tuple[Proposal, ...]) -> list[str]:
    return [one.keywords.removeprefix(BASE) for one in proposals]


@pytest.mark.parametrize(
    ("written", "required", "without"),
    [
        ("x25519", None, "x25519"),
        ("x25519-ke1_mlkem768", "x25519-ke1_mlkem768", None),
        ("x25519-ke1_mlkem768-ke1_none", "x25519-ke1_mlkem768", "x25519"),
        ("x25519-ke1_ecp256-ke1_mlkem768", "x25519-ke1_mlkem768", "x25519-ke1_ecp256"),
        (
            "x25519-ke1_ecp256-ke2_mlkem768-ke2_none-ke3_mlkem1024-ke3_none",
            "x25519-ke1_ecp256-ke2_mlkem768-ke3_mlkem1024-ke3_none",
            "x25519-ke1_ecp256",
        ),
        ("mlkem768", "mlkem768", None),
        ("x25519-mlkem768", "mlkem768", "x25519"),
    ],
)
def test_what_is_left_of_a_proposal(written: str, required: str | None, without: str | None) -> None:
    (proposal,) = ike(written)
    insisting, left = proposal.insisting(), proposal.classical()
    assert (insisting and insisting.keywords) == (required and BASE + required)
    assert (left and left.keywords) == (without and BASE + without)


def test_the_order_and_the_choice_under_each_demand() -> None:
    mixed = ike("x25519", "ecp384-ke1_mlkem1024", "ecp256", "x25519-ke1_mlkem768-ke1_none")
    assert under(Demand.OFF, mixed) is mixed
    assert endings(under(Demand.PREFER, mixed)) == [
        "ecp384-ke1_mlkem1024",
        "x25519-ke1_mlkem768-ke1_none",
        "x25519",
        "ecp256",
    ]
    assert endings(under(Demand.REQUIRE, mixed)) == ["ecp384-ke1_mlkem1024", "x25519-ke1_mlkem768"]
    assert endings(classical(mixed)) == ["x25519", "ecp256", "x25519"]
    assert under(Demand.REQUIRE, ike("x25519")) == ()


def test_a_day_divides_preferred_from_required() -> None:
    dated = PostQuantum(Demand.REQUIRE, 1000.0)
    assert (dated.at(999.9), dated.date(999.9)) == (Demand.PREFER, 1000.0)
    assert (dated.at(1000.0), dated.date(1000.0)) == (Demand.REQUIRE, None)
    assert PostQuantum(Demand.REQUIRE).at(0.0) is Demand.REQUIRE
    assert PostQuantum(Demand.OFF, 1000.0).at(2000.0) is Demand.OFF


def test_the_presets_are_what_they_say() -> None:
    offered = tuple(Proposal.parse(text, Protocol.IKE) for text in MODERN_PQ_IKE)
    assert [one.post_quantum for one in offered] == [True, True, False, False]
    first = offered[0]
    assert (first.ke[0].keyword, first.additional[0][1][0].keyword) == ("x25519", "mlkem768")  # type: ignore[union-attr]
    assert under(Demand.PREFER, offered) == offered
    modern = tuple(Proposal.parse(text, Protocol.IKE) for text in MODERN_IKE)
    assert classical(offered) == modern and not any(one.post_quantum or one.weak for one in modern)
