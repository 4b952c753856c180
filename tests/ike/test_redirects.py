"""What REDIRECT carries, from friends and from others (RFC 5685)."""

import pytest

from gateway.ike.path import Path
from gateway.ike.redirects import read, redirect
from gateway.ike.sa import Lifecycle
from gateway.policy.snapshot import EngineSettings
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Reject
from tests.ike.strangers import answering, ask, init_payloads, init_request
from tests.ike.test_scripts import HERE, THERE, answer, calling

SUPPORTED = wire.Notify(0, b"", NotifyType.REDIRECT_SUPPORTED, b"")


@pytest.mark.parametrize("host", ["192.0.2.9", "2001:db8::9", "gw2.example.org", "a", "gw_2.x-y.example."])
@pytest.mark.parametrize("nonce", [b"", b"n" * 32])
def test_it_names_a_gateway_and_gives_the_nonce_back(host: str, nonce: bytes) -> None:
    assert read(redirect(host, nonce).data) == (host, nonce)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1",
        b"\1\4abc",
        b"\1\3abc",
        b"\2\4abcd",
        b"\0\4abcd",
        b"\4\4abcd",
        b"\3\0",
        b"\3\4a b ",
        b"\3\4a;rm",
        b"\3\5-rm-a",
        b"\3\4\xc3\xa4bc",
        b"\3\4..bc",
        b"\3\4a\0bc",
        b"\3\xff" + b"a" * 255,
        b"\3\x42" + b"a" * 66,
        b"\1\4\0\0\0\0",
        b"\1\4\x7f\0\0\1",
        b"\1\4\xe0\0\0\1",
        b"\1\4\xff\xff\xff\xff",
        b"\2\x10" + bytes(15) + b"\1",
    ],
)
def test_nonsense_goes_to_no_resolver(data: bytes) -> None:
    with pytest.raises(Reject):
        read(data)


def test_a_redirect_with_another_nonce_is_not_heard() -> None:
    engine, sa, request = calling()
    assert request.notify(NotifyType.REDIRECT_SUPPORTED)
    for forged in (redirect("192.0.2.66"), redirect("192.0.2.66", b"guess" * 4), redirect("192.0.2.66", bytes(32))):
        assert answer(engine, request, forged) == []
        assert sa.state == Lifecycle.CONNECTING
        assert sa.path.remote == THERE
    assert answer(engine, request, wire.Notify(0, b"", NotifyType.REDIRECT, b"\1\4junk")) == []
    # and the true answer is still waited for
    (again,) = answer(engine, request, wire.Notify(0, b"", NotifyType.COOKIE, b"biscuit"))
    assert again.notify(NotifyType.COOKIE)


def test_who_does_not_want_to_be_sent_on_says_nothing_and_stays() -> None:
    engine, sa, request = calling(redirect=False)
    assert request.notify(NotifyType.REDIRECT_SUPPORTED) is None
    assert answer(engine, request, redirect("192.0.2.66", request.one(wire.Nonce).data)) == []
    assert sa.state == Lifecycle.CLOSED
    attempt = engine.core.attempts.latest(1)[0]
    assert attempt.cause == "redirected"
    assert "Allow redirects" in attempt.advice


def test_only_those_who_can_be_are_sent_on() -> None:
    engine = answering(EngineSettings(redirect_to="192.0.2.3"))
    (served,) = ask(engine, init_request(b"stays on"))
    assert served.spi_r != bytes(8)
    (sent_on,) = ask(engine, init_request(b"goes off", [*init_payloads(), SUPPORTED]))
    notify = sent_on.notify(NotifyType.REDIRECT)
    assert notify is not None
    assert read(notify.data) == ("192.0.2.3", b"n" * 32)
    assert sent_on.spi_r == bytes(8)
    assert len(engine.ike_sas()) == 1
    assert engine.core.counters["redirected"] == 1


def test_nobody_is_sent_back_to_where_he_came_from_or_to_ourselves() -> None:
    from gateway.ike.redirects import redirected_from

    engine = answering(EngineSettings(redirect_to="192.0.2.3"))
    (served,) = ask(engine, init_request(b"returned", [*init_payloads(), redirected_from("192.0.2.3")]))
    assert served.spi_r != bytes(8)
    (on,) = ask(engine, init_request(b"elsewher", [*init_payloads(), redirected_from("192.0.2.4")]))
    assert on.notify(NotifyType.REDIRECT)
    engine = answering(EngineSettings(redirect_to="192.0.2.2"))
    (served,) = ask(engine, init_request(b"to me   ", [*init_payloads(), SUPPORTED]))
    assert served.spi_r != bytes(8)


def test_sending_on_does_not_amplify() -> None:
    engine = answering(EngineSettings(redirect_to="a" * 60 + "." + "b" * 60 + "." + "c" * 60))
    request = init_request(b"amplify ", [*init_payloads(b"n" * 16), SUPPORTED])
    answers = ask(engine, request)
    assert all(len(build(one)) <= len(build(request)) for one in answers)


def test_a_circle_of_gateways_is_left() -> None:
    engine, sa, request = calling()
    number = 10
    while sa.state == Lifecycle.CONNECTING:
        number += 1
        assert number < 30
        effects = engine.receive(
            build(
                Message(
                    request.spi_i,
                    bytes(8),
                    ExchangeType.IKE_SA_INIT,
                    False,
                    True,
                    0,
                    [redirect(f"192.0.2.{number}", sa.nonce_i)],
                )
            ),
            Path(HERE, THERE),
            1.0,
        )
        for effect in effects:
            if hasattr(effect, "token"):
                engine.located(effect.token, (HERE, effect.host), "", 1.0)
        request.spi_i = sa.spi_i
    assert number == 16
    attempt = engine.core.attempts.latest(1)[0]
    assert attempt.cause == "redirect-loop"
    assert "192.0.2.16" in attempt.reason
