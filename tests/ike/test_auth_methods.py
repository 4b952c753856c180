"""Ways of authentication, announced (RFC 9593)."""

import pytest

from gateway.ike.auth_methods import announcement, read
from gateway.wire import payloads as wire
from gateway.wire.message import parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.ike.strangers import answering, ask, init_request
from tests.simulation.network import Network, two

KIND = NotifyType.SUPPORTED_AUTH_METHODS


def test_the_responder_announces_a_pre_shared_key() -> None:
    (answer,) = ask(answering(), init_request())
    notify = answer.notify(KIND)
    assert notify is not None
    assert notify.data == b"\2\2"
    assert read(announcement()) == [2]


@pytest.mark.parametrize(
    ("data", "methods"),
    [
        (b"", []),
        (b"\2\2", [2]),
        (b"\2\2\3\1\1", [2, 1]),
        (b"\6\x0e\0\x30\1\2\2\2", [14, 2]),
        (b"\0\2", []),
        (b"\1\2", []),
        (b"\2\2\x09\1", [2]),
        (b"\2", []),
        (b"\2\2" * 1000, [2] * 32),
    ],
)
def test_what_the_peer_announces_is_read_with_care(data: bytes, methods: list[int]) -> None:
    assert read(wire.Notify(0, b"", KIND, data)) == methods


def test_a_peer_that_accepts_no_such_key_is_named_in_the_attempt() -> None:
    network = Network(1)
    real = network._send

    def send(host: object, effect: object) -> None:
        data = effect.data  # type: ignore[attr-defined]
        if data[18] == ExchangeType.IKE_SA_INIT and parse(data).response:
            effect.data = data[:-2] + b"\2\1"  # type: ignore[attr-defined]
        real(host, effect)  # type: ignore[arg-type]

    network._send = send  # type: ignore[method-assign]
    a, _ = two(network, right_key=b"another")
    network.run(1)
    attempt = a.engine.core.attempts.latest(9)[-1]
    assert attempt.cause == "auth-method"
    assert "accepts only RSA" in attempt.reason
    assert "pre-shared key" in attempt.reason
