"""Somebody in between changes what goes in the open, so that a hybrid tunnel would be made classical: it never is.

Where post-quantum key exchange is required there is no tunnel at all; where it may fall back, both ends' proofs cover
what was sent and what came (RFC 7296 2.15), and differ.
"""

from collections.abc import Callable

import pytest

from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, KeMethod, NotifyType, Protocol, TransformType
from tests.simulation.network import Host, Network
from tests.simulation.test_post_quantum import HYBRID, pair, up

FALLS_BACK = f"{HYBRID}-ke1_none"
CLASSICAL = "aes256gcm16-prfsha256-x25519"
ADDKE1 = 6
Tamper = Callable[[Message], None]


def between(network: Network, tamper: Tamper, *, response: bool) -> list[Message]:
    """From now on this happens to each IKE_SA_INIT of one direction; what was changed."""
    send, changed = network._send, list[Message]()

    def meddling(host: Host, sent: object) -> None:
        data = sent.data  # type: ignore[attr-defined]
        if data[18] == ExchangeType.IKE_SA_INIT and bool(data[19] & 0x20) is response:
            message = parse(data)
            tamper(message)
            sent.data = build(message)  # type: ignore[attr-defined]
            if sent.data != data:  # type: ignore[attr-defined]
                changed.append(message)
        send(host, sent)  # type: ignore[arg-type]

    network._send = meddling  # type: ignore[method-assign,assignment]
    return changed


def without(kind: int) -> Tamper:
    def tamper(message: Message) -> None:
        message.payloads = [one for one in message.payloads if getattr(one, "type", None) != kind]

    return tamper


def transforms(change: Callable[[list[wire.Transform]], list[wire.Transform]]) -> Tamper:
    def tamper(message: Message) -> None:
        for sa in message.all(wire.SA):
            for proposal in sa.proposals:
                proposal.transforms = change(proposal.transforms)

    return tamper


def classical(found: list[wire.Transform]) -> list[wire.Transform]:
    return [one for one in found if one.type < ADDKE1]


def addke(number: int, kind: int = ADDKE1) -> wire.Transform:
    return wire.Transform(kind, number)


def other_method(found: list[wire.Transform]) -> list[wire.Transform]:
    return [addke(KeMethod.CURVE448) if one.type == ADDKE1 else one for one in found]


def refused(network: Network, suite: str, seconds: float = 20) -> None:
    left, right = pair(network, (suite,), (suite,))
    network.run(seconds)
    assert up(left) is None
    assert up(right) is None
    assert not left.plane.states()
    assert not right.plane.states()


@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("suite", [HYBRID, FALLS_BACK])
@pytest.mark.parametrize(
    "tamper",
    [without(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED), transforms(classical), transforms(other_method)],
    ids=["notify", "transforms", "method"],
)
def test_what_is_taken_away_or_changed_makes_no_tunnel(tamper: Tamper, suite: str, response: bool) -> None:
    network = Network(1)
    changed = between(network, tamper, response=response)
    refused(network, suite)
    assert changed, "there was something to change"


def test_without_anybody_in_between_the_same_suites_come_up_hybrid() -> None:
    for suite in (HYBRID, FALLS_BACK):
        network = Network(1)
        assert not between(network, lambda _: None, response=True)
        left, right = pair(network, (suite,), (suite,))
        network.run(3)
        assert up(left) == up(right) == HYBRID


@pytest.mark.parametrize(
    "more",
    [
        [addke(KeMethod.ML_KEM_768), addke(KeMethod.ML_KEM_1024)],
        [addke(KeMethod.ML_KEM_768, kind) for kind in range(ADDKE1, ADDKE1 + 7)],
        [addke(KeMethod.CURVE25519, ADDKE1 + 1)],
        [addke(0)],
        [addke(0xFFFF)],
        [addke(KeMethod.ML_KEM_768, 13)],
        [addke(KeMethod.ML_KEM_768)] * 200,
    ],
    ids=["contradictory", "all alike", "one more", "none beside it", "unknown", "no such type", "200 times"],
)
def test_a_response_with_other_additional_exchanges_is_no_answer_to_ours(more: list[wire.Transform]) -> None:
    network = Network(1)
    changed = between(network, transforms(lambda found: [*found, *more]), response=True)
    refused(network, HYBRID)
    assert changed


@pytest.mark.parametrize("count", [2, 7, 250])
def test_a_request_whose_transforms_are_repeated_makes_no_tunnel(count: int) -> None:
    """Whatever is chosen of it, the proofs are over what each end saw."""
    network = Network(1)
    changed = between(
        network, transforms(lambda found: [*found, *([addke(KeMethod.ML_KEM_768)] * count)]), response=False
    )
    refused(network, FALLS_BACK)
    assert changed


def test_the_classical_offer_alone_cannot_be_made_the_best_one() -> None:
    """Of two proposals, the hybrid one is taken out in between."""
    network = Network(1)

    def tamper(message: Message) -> None:
        for sa in message.all(wire.SA):
            sa.proposals = [one for one in sa.proposals if not any(t.type >= ADDKE1 for t in one.transforms)]

    changed = between(network, tamper, response=False)
    left, right = pair(network, (HYBRID, CLASSICAL), (HYBRID, CLASSICAL))
    network.run(20)
    assert changed
    assert up(left) is None
    assert up(right) is None


def test_the_type_of_each_transform_is_told_apart() -> None:
    """What stands for an additional exchange in these tests is one on the wire."""
    network = Network(1)
    pair(network, (HYBRID,), (HYBRID,))
    opening = parse(network.carried[0][3])
    found = [one for one in opening.one(wire.SA).proposals[0].transforms if one.type == ADDKE1]
    assert [one.number for one in found] == [KeMethod.ML_KEM_768]
    assert TransformType.KE == 4
    assert opening.one(wire.SA).proposals[0].protocol == Protocol.IKE
