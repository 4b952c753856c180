"""Proposals in keywords, the choice, and the explanation when there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import suites
from gateway.policy.choice import accepted, choose
from gateway.policy.differences import explain
from gateway.policy.proposals import InvalidProposal, Proposal
from gateway.wire.numbers import Protocol, TransformType
from gateway.wire.payloads import Transform, TransformAttribute

AEAD = [row.keyword for row in suites.ENCRYPTIONS if row.aead]
CIPHERS = [row.keyword for row in suites.ENCRYPTIONS if not row.aead]
INTEGRITIES = [row.keyword for row in suites.INTEGRITIES]
PRFS = [row.keyword for row in suites.PRFS]
GROUPS = [row.keyword for row in suites.KEY_EXCHANGES]


def some(words: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True)


@st.composite
def ike_proposals(draw: st.DrawFn) -> Proposal:
    words = draw(some(AEAD)) if draw(st.booleans()) else draw(some(CIPHERS)) + draw(some(INTEGRITIES))
    return Proposal.parse("-".join(words + draw(some(PRFS)) + draw(some(GROUPS))), Protocol.IKE)


@given(ike_proposals())
def test_keywords_round_trip(proposal: Proposal) -> None:
    assert Proposal.parse(proposal.keywords, Protocol.IKE) == proposal


@given(st.lists(ike_proposals(), min_size=1, max_size=3), st.lists(ike_proposals(), min_size=1, max_size=3))
def test_a_choice_is_in_both_lists_or_explained(ours: list[Proposal], theirs: list[Proposal]) -> None:
    offered = [proposal.to_wire(number, b"") for number, proposal in enumerate(theirs, 1)]
    chosen = choose(ours, offered)
    if chosen is None:
        assert explain(ours, offered).differences
        return
    assert any(chosen.encr in p.encr and chosen.ke in p.ke and chosen.prf in p.prf for p in ours)
    theirs_chosen = theirs[chosen.number - 1]
    assert chosen.encr in theirs_chosen.encr
    assert chosen.ke in theirs_chosen.ke
    agreed = accepted(theirs, chosen.to_wire(b""))
    assert agreed is not None
    assert (agreed.encr, agreed.integ, agreed.prf, agreed.ke) == (chosen.encr, chosen.integ, chosen.prf, chosen.ke)


def test_our_order_decides() -> None:
    ours = (Proposal.parse("aes256gcm16-aes128gcm16-prfsha256-x25519-ecp256", Protocol.IKE),)
    offered = [Proposal.parse("aes128gcm16-aes256gcm16-prfsha256-ecp256-x25519", Protocol.IKE).to_wire(1, b"")]
    chosen = choose(ours, offered)
    assert chosen is not None
    assert chosen.keywords == "aes256gcm16-prfsha256-x25519"


def test_an_unknown_transform_type_fails_its_proposal_alone() -> None:
    ours = (Proposal.parse("aes256gcm16-prfsha256-x25519", Protocol.IKE),)
    first, second = ours[0].to_wire(1, b""), ours[0].to_wire(2, b"")
    first.transforms.append(Transform(99, 1, None))
    chosen = choose(ours, [first, second])
    assert chosen is not None
    assert chosen.number == 2


def test_a_transform_with_an_unknown_attribute_is_passed_over() -> None:
    ours = (Proposal.parse("aes256gcm16-aes128gcm16-prfsha256-x25519", Protocol.IKE),)
    offered = ours[0].to_wire(1, b"")
    offered.transforms[0].attributes = (TransformAttribute(99, 1),)
    chosen = choose(ours, [offered])
    assert chosen is not None
    assert chosen.encr.keyword == "aes128gcm16"


def test_the_first_child_ignores_key_exchanges() -> None:
    ours = (Proposal.parse("aes256gcm16-x25519", Protocol.ESP),)
    offered = [Proposal.parse("aes256gcm16", Protocol.ESP).to_wire(1, b"abcd")]
    assert choose(ours, offered) is None
    chosen = choose(ours, offered, with_ke=False)
    assert chosen is not None
    assert chosen.ke is None


def test_an_answer_with_two_of_a_kind_is_not_accepted() -> None:
    ours = (Proposal.parse("aes256gcm16-aes128gcm16-prfsha256-x25519", Protocol.IKE),)
    assert accepted(ours, ours[0].to_wire(1, b"")) is None


@pytest.mark.parametrize(
    ("text", "protocol", "says"),
    [
        ("aes256gcm16-x25519", Protocol.IKE, "pseudo-random"),
        ("aes256gcm16-prfsha256", Protocol.IKE, "key exchange"),
        ("aes256-x25519", Protocol.IKE, "integrity"),
        ("aes256gcm16-aes256-sha256-x25519", Protocol.IKE, "separate proposals"),
        ("aes256gcm16-sha256-prfsha256-x25519", Protocol.IKE, "takes no integrity"),
        ("aes256gcm16-prfsha256", Protocol.ESP, "no pseudo-random function"),
        ("aes257", Protocol.ESP, "aes257"),
        ("aes256gcm16-prfsha256-x25519-esn", Protocol.IKE, "matter of ESP"),
        ("sha256", Protocol.ESP, "encryption"),
    ],
)
def test_what_is_wrong_is_said(text: str, protocol: Protocol, says: str) -> None:
    with pytest.raises(InvalidProposal, match=says):
        Proposal.parse(text, protocol)


def ike(text: str) -> Proposal:
    return Proposal.parse(f"aes256gcm16-prfsha256-{text}", Protocol.IKE)


def agreed(ours: str, theirs: str, *, additional: bool = True) -> str | None:
    chosen = choose([ike(ours)], [ike(theirs).to_wire(1, b"")], additional=additional)
    return chosen.keywords.removeprefix("aes256gcm16-prfsha256-") if chosen else None


def test_additional_key_exchanges_are_read_and_written() -> None:
    text = "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none-ke3_ecp384"
    assert Proposal.parse(text, Protocol.IKE).keywords == text
    assert ike("x25519-ke1_mlkem768").without_ke().additional == ()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("x25519-ke1_mlkem999", "no key exchange method"),
        ("x25519-ke1_aes256gcm16", "no key exchange method"),
        ("x25519-ke8_mlkem768", "no algorithm we know"),
        ("x25519-ke1_none", "there must be a method"),
        ("x25519-ke1_mlkem768-ke2_mlkem768", "no two additional key exchanges may be the same"),
    ],
)
def test_additional_key_exchanges_that_make_no_sense(words: str, why: str) -> None:
    with pytest.raises(InvalidProposal, match=why):
        ike(words)


def test_an_additional_key_exchange_needs_a_first_one() -> None:
    with pytest.raises(InvalidProposal, match="follows a first one"):
        Proposal.parse("aes256gcm16-ke1_mlkem768", Protocol.ESP)


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ("x25519-ke1_mlkem768", "x25519-ke1_mlkem768", "x25519-ke1_mlkem768"),
        ("x25519-ke1_mlkem768", "x25519", None),  # required, but not offered
        ("x25519-ke1_mlkem768-ke1_none", "x25519", "x25519"),
        ("x25519", "x25519-ke1_mlkem768", None),  # offered without NONE
        ("x25519", "x25519-ke1_mlkem768-ke1_none", "x25519"),
        ("x25519-ke2_mlkem768-ke2_none", "x25519-ke1_mlkem768", None),
        # RFC 9370 2.2.1: no method twice, and the first wish gives way where the second has no other choice
        ("x25519-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768", "x25519-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768",
         "x25519-ke1_mlkem1024-ke2_mlkem768"),
        ("x25519-ke1_mlkem768-ke2_mlkem768-ke2_mlkem1024", "x25519-ke1_mlkem768-ke2_mlkem768-ke2_none", None),
        ("x25519-ke2_mlkem768-ke5_ecp384", "x25519-ke2_mlkem768-ke5_ecp384", "x25519-ke2_mlkem768-ke5_ecp384"),
    ],
)  # fmt: skip
def test_additional_key_exchanges_agreed_on(ours: str, theirs: str, outcome: str | None) -> None:
    assert agreed(ours, theirs) == outcome


def test_without_intermediate_exchanges_additional_ones_are_unknown() -> None:
    assert agreed("x25519-ke1_mlkem768-ke1_none", "x25519-ke1_mlkem768-ke1_none", additional=False) is None
    assert agreed("x25519-ke1_mlkem768-ke1_none", "x25519", additional=False) == "x25519"
    assert agreed("x25519-ke1_mlkem768", "x25519", additional=False) is None


def test_a_left_out_key_exchange_is_answered_with_none() -> None:
    offered = ike("x25519-ke1_mlkem768-ke1_none").to_wire(1, b"")
    chosen = choose([ike("x25519")], [offered], additional=True)
    assert chosen is not None and chosen.following == ()
    answer = chosen.to_wire(b"")
    assert [(t.type, t.number) for t in answer.transforms if t.type == TransformType.ADDKE1] == [(6, 0)]
    assert accepted([ike("x25519-ke1_mlkem768-ke1_none")], answer, additional=True) is not None
    assert accepted([ike("x25519-ke1_mlkem768")], answer, additional=True) is None


def test_the_answer_may_not_name_two_for_one_number() -> None:
    answer = ike("x25519-ke1_mlkem768-ke1_mlkem1024").to_wire(1, b"")
    assert accepted([ike("x25519-ke1_mlkem768-ke1_mlkem1024")], answer, additional=True) is None


def test_the_difference_in_additional_key_exchanges_is_told() -> None:
    found = explain([ike("x25519-ke1_mlkem768")], [ike("x25519").to_wire(1, b"")])
    assert found.differences == ("additional key exchanges: they offer none; we accept ke1_mlkem768",)
    assert explain([ike("x25519")], [ike("x25519-ke1_mlkem768").to_wire(1, b"")]).offered == (
        "aes256gcm16-prfsha256-x25519-ke1_mlkem768",
    )
