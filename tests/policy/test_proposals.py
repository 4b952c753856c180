"""Proposals in keywords, the choice, and the explanation when there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import suites
from gateway.policy.proposals import InvalidProposal, Proposal, accepted, choose, explain
from gateway.wire.numbers import Protocol
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
