"""AUTHENTICATION_FAILED from the peer: the attempt says what it can be, and what to do, by how we proved ourselves."""

from collections.abc import Callable

import pytest

from gateway.ike.attempts import Attempt
from gateway.policy.authentication import Method, RemoteAuth
from tests.pki import issue, private, root
from tests.simulation.eap_scenes import scene
from tests.simulation.network import Network
from tests.simulation.proofs import Pair

ELSEWHERE = root("O=Elsewhere, CN=Root", key=private("p256", 9))


def by_signature(method: Method) -> Attempt:
    ours = issue("O=Lab, CN=left", ELSEWHERE, "dns:left.example", key=private("p256", 1))
    pair = Pair(ours, methods=(method, Method.CERTIFICATE), remote={"public_keys": ()}).run()
    return pair.attempt(pair.a)


def by_eap() -> Attempt:
    network = Network(3)
    a, _ = scene(network, right_auth=(RemoteAuth(Method.PSK),))
    network.run(2)
    return a.engine.core.attempts.latest(9)[-1]


@pytest.mark.parametrize(
    ("attempt", "reason", "advice"),
    [
        (lambda: by_signature(Method.CERTIFICATE), "does not trust our certificate", "authority that issued our"),
        (lambda: by_signature(Method.PUBLIC_KEY), "does not know our public key", "Enter our public key"),
        (by_eap, "does not let it in by EAP", "EAP method on both sides"),
    ],
)
def test_what_a_refusal_can_be(attempt: Callable[[], Attempt], reason: str, advice: str) -> None:
    failed = attempt()
    assert failed.cause == "peer-refused-us"
    assert reason in failed.reason
    assert advice in failed.advice
    assert "pre-shared" not in failed.reason + failed.advice
