"""COOKIEs: stateless, bound to who asked, good for two periods."""

import random

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.cookies import Cookies
from gateway.ike.engine import Engine
from gateway.ike.path import Path
from gateway.policy.snapshot import EngineSettings, Snapshot

PATH = Path("192.0.2.2", "192.0.2.1")
SPI, NONCE = b"12345678", b"n" * 32


def test_a_cookie_is_good_for_this_and_the_next_period_only() -> None:
    cookies = Cookies(random.Random(1).randbytes, 60.0)
    cookie = cookies.make(PATH, SPI, NONCE, 100.0)
    assert cookies.good(cookie, PATH, SPI, NONCE, 100.0)
    assert cookies.good(cookie, PATH, SPI, NONCE, 170.0)
    assert not cookies.good(cookie, PATH, SPI, NONCE, 240.0)


def test_a_cookie_is_nobody_elses() -> None:
    cookies = Cookies(random.Random(1).randbytes, 60.0)
    cookie = cookies.make(PATH, SPI, NONCE, 100.0)
    assert not cookies.good(cookie, Path("192.0.2.2", "192.0.2.9"), SPI, NONCE, 100.0)
    assert not cookies.good(cookie, Path("192.0.2.2", "192.0.2.1", 501), SPI, NONCE, 100.0)
    assert not cookies.good(cookie, PATH, b"87654321", NONCE, 100.0)
    assert not cookies.good(cookie, PATH, SPI, b"m" * 32, 100.0)
    assert not Cookies(random.Random(2).randbytes, 60.0).good(cookie, PATH, SPI, NONCE, 100.0)


def test_octets_cannot_be_moved_between_nonce_and_address() -> None:
    cookies = Cookies(random.Random(1).randbytes, 60.0)
    cookie = cookies.make(PATH, SPI, NONCE, 100.0)
    for length in range(1, 33):
        assert cookies.good(cookie, PATH, SPI, NONCE[:length], 100.0) is (length == 32)
    for length in range(25):
        assert not cookies.good(cookie[:length], PATH, SPI, NONCE, 100.0)


def test_another_lifetime_holds_from_its_application_on() -> None:
    engine = Engine(MemoryPlane(), random.Random(1).randbytes)
    engine.apply(Snapshot.build(1, [], [], EngineSettings(cookie_lifetime=5.0)), 0.0)
    cookies = engine.core.cookies
    cookie = cookies.make(PATH, SPI, NONCE, 100.0)
    assert cookies.good(cookie, PATH, SPI, NONCE, 104.0)
    assert cookies.good(cookie, PATH, SPI, NONCE, 106.0)
    assert not cookies.good(cookie, PATH, SPI, NONCE, 112.0)
