"""Every abuse in every state, as request and as response of every exchange: nothing raises, nothing stays."""

import pytest

from gateway.wire.numbers import ExchangeType
from tests.hostile.abuses import ABUSES
from tests.hostile.rogue import STATES, Inner
from tests.hostile.scene import Scene

EXCHANGES = (*range(ExchangeType.IKE_SA_INIT, ExchangeType.IKE_FOLLOWUP_KE + 1), 0, 255)
WAITING = ("proving", "deleting", "creating", "rekeying")
"""The states in which the gateway has a request under way."""


@pytest.mark.parametrize("abuse", ABUSES)
@pytest.mark.parametrize("state", STATES)
def test_a_request_of_abuse_changes_nothing_for_others(state: str, abuse: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    for exchange in EXCHANGES:
        if rogue.sa is None:
            rogue = STATES[state](scene)
        rogue.ask(rogue.seal(exchange, ABUSES[abuse](rogue)))
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize("abuse", ABUSES)
@pytest.mark.parametrize("state", WAITING)
def test_a_response_of_abuse_changes_nothing_for_others(state: str, abuse: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    inside = ABUSES[abuse](rogue)
    if isinstance(inside, Inner):
        rogue.respond(octets=inside)
    else:
        rogue.respond(*inside)
    scene.assert_serves()
    scene.assert_forgets()
