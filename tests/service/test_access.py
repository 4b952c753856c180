"""Accounts, sessions, tokens and the setup token: who gets in, for how long, and who does not."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher

from gateway.service.access import (
    ABSOLUTE,
    IDLE,
    SETUP_LIFETIME,
    Access,
    Scope,
    SetupRefused,
    SignInRefused,
    Throttled,
    TokenNotFound,
)
from gateway.service.credentials import split_token, token_text
from gateway.service.manage import Invalid
from gateway.service.throttle import Throttle
from tests.service.bench import Bench

PASSWORD = "a long walk on the beach"
HERE = "192.0.2.7"


def _token(access: Access) -> str:
    link = access.setup_link("gw.example:8443")
    assert link is not None
    head, _, token = link.partition("#token=")
    assert head == "https://gw.example:8443/setup"
    assert len(token) == 43
    return token


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_the_setup_token_makes_one_administrator_once(bench: Bench) -> None:
    access = bench.config.access
    assert access.setup_needed
    token = _token(access)
    started = await access.set_up(token, "root", PASSWORD, HERE)
    assert (started.session.admin, started.session.source) == ("root", HERE)
    assert not access.setup_needed
    assert access.setup_link("gw.example:8443") is None
    with pytest.raises(SetupRefused, match="set up already"):
        await access.set_up(token, "second", PASSWORD, HERE)
    bench.reopen()
    assert not bench.config.access.setup_needed
    assert bench.config.access.session(started.secret) is not None


async def test_a_wrong_old_or_replaced_setup_token_is_refused(bench: Bench) -> None:
    access = bench.config.access
    with pytest.raises(SetupRefused):
        await access.set_up("", "root", PASSWORD, HERE)
    first, second = _token(access), _token(access)
    for wrong in (first, second[:-1], "x" * 43):
        with pytest.raises(SetupRefused, match="not the setup token"):
            await access.set_up(wrong, "root", PASSWORD, HERE)
    bench.clock.now += SETUP_LIFETIME
    with pytest.raises(SetupRefused, match="older than an hour"):
        await access.set_up(second, "root", PASSWORD, HERE)
    assert access.setup_needed


async def test_a_bad_password_does_not_use_the_setup_token_up(bench: Bench) -> None:
    access = bench.config.access
    token = _token(access)
    with pytest.raises(Invalid):
        await access.set_up(token, "root", "short", HERE)
    await access.set_up(token, "root", PASSWORD, HERE)


async def test_of_two_first_administrators_there_is_one(bench: Bench) -> None:
    access = bench.config.access
    token = _token(access)
    outcomes = await asyncio.gather(
        *(access.set_up(token, name, PASSWORD, HERE) for name in ("a", "b")), return_exceptions=True
    )
    assert sum(isinstance(outcome, SetupRefused) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    ("name", "password", "pointer"),
    [
        ("root", "elevenchars", "/password"),
        ("root", "x" * 1025, "/password"),
        ("root", "aaaaaaaaaaaaaaaa", "/password"),
        ("root", "Password1234", "/password"),
        ("administrator", "administrator!", "/password"),
        ("root", "passwordpassword", "/password"),
        ("Root", PASSWORD, "/name"),
        ("", PASSWORD, "/name"),
    ],
)
async def test_names_and_passwords_that_will_not_do(bench: Bench, name: str, password: str, pointer: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await bench.config.access.add_admin(name, password)
    assert [error.pointer for error in invalid.value.errors] == [pointer]


async def test_sign_in_and_out(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    started = await access.sign_in("root", PASSWORD, HERE)
    other = await access.sign_in("root", PASSWORD, HERE)
    found = access.session(started.secret)
    assert found == started.session
    assert started.secret not in repr(started)
    await access.sign_out(started.secret)
    assert access.session(started.secret) is None
    assert access.session(other.secret) is not None
    assert [session.id for session in access.sessions()] == [other.session.id]
    assert access.session("") is None
    with pytest.raises(Invalid):
        await access.add_admin("root", PASSWORD)


async def test_wrong_names_and_wrong_passwords_look_alike(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    texts = set()
    for name, password in (
        ("root", PASSWORD + "x"),
        ("nobody", PASSWORD),
        ("root", ""),
        ("root", "x" * 2000),
        ("", ""),
    ):
        with pytest.raises(SignInRefused) as refused:
            await access.sign_in(name, password, HERE)
        texts.add(str(refused.value))
    assert len(texts) == 1


async def test_a_name_that_nobody_has_is_not_written_down(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    with pytest.raises(SignInRefused):
        await access.sign_in(PASSWORD, "root", HERE)
    assert all(PASSWORD not in record.text for record in bench.journal.latest())


class Counting(PasswordHasher):
    """Argon2 as it is, with a count of the passwords that it was asked about."""

    asked = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.asked += 1
        assert not self.check_needs_rehash(hash), "as dear as any"
        return super().verify(hash, password)


async def test_an_unknown_name_costs_the_same_hash_as_a_wrong_password(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    found = access._hasher
    access._hasher = counting = Counting(found.time_cost, found.memory_cost, found.parallelism)
    for number, name in enumerate(("root", "nobody"), 1):
        with pytest.raises(SignInRefused):
            await access.sign_in(name, "wrong password", HERE)
        assert counting.asked == number


async def test_a_session_ends_when_idle_and_at_its_limit(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    secret = (await access.sign_in("root", PASSWORD, HERE)).secret
    bench.clock.now += IDLE - 1
    assert access.session(secret, touch=False) is not None
    bench.clock.now += 1
    assert access.session(secret) is None
    secret = (await access.sign_in("root", PASSWORD, HERE)).secret
    used = 0.0
    while used < ABSOLUTE:
        assert access.session(secret) is not None
        bench.clock.now += IDLE / 2
        used += IDLE / 2
    assert access.session(secret) is None
    assert access.sessions() == []


async def test_only_digests_lie_in_the_database(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    started = await access.sign_in("root", PASSWORD, HERE)
    made = await access.create_token("ansible", [Scope.CONFIG_READ], "root")
    parts = split_token(made.text)
    assert parts is not None
    stored = _files(bench.folder)
    for secret in (PASSWORD, started.secret, made.text, parts[1]):
        assert secret.encode() not in stored


async def test_a_changed_password_ends_all_sessions(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    started = await access.sign_in("root", PASSWORD, HERE)
    with pytest.raises(SignInRefused):
        await access.change_password("root", "wrong password", "another long walk", HERE)
    with pytest.raises(Invalid):
        await access.change_password("root", PASSWORD, "short", HERE)
    assert access.session(started.secret) is not None
    await access.change_password("root", PASSWORD, "another long walk", HERE)
    assert access.session(started.secret) is None
    with pytest.raises(SignInRefused):
        await access.sign_in("root", PASSWORD, HERE)
    await access.sign_in("root", "another long walk", HERE)


async def test_guessing_is_slowed_down(bench: Bench) -> None:
    access = bench.config.access
    await access.add_admin("root", PASSWORD)
    for _ in range(10):
        with pytest.raises(SignInRefused):
            await access.sign_in("root", "x", HERE)
    with pytest.raises(Throttled) as throttled:
        await access.sign_in("root", PASSWORD, HERE)
    assert 0 < throttled.value.retry_after <= 10
    bench.clock.now += throttled.value.retry_after
    await access.sign_in("root", PASSWORD, HERE)


def test_a_source_is_slowed_for_all_accounts_and_an_account_for_all_sources() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.failed(0.0, "192.0.2.1", f"account{number}")
    with pytest.raises(Throttled):
        throttle.check(0.0, "192.0.2.1", "fresh")
    throttle.check(0.0, "192.0.2.2", "fresh")
    for number in range(10):
        throttle.failed(0.0, f"198.51.100.{number}", "root")
    with pytest.raises(Throttled):
        throttle.check(0.0, "192.0.2.3", "root")
    throttle.check(0.0, "192.0.2.3", "other")


def test_nobody_can_lock_an_administrator_out_of_his_own_place() -> None:
    throttle = Throttle()
    throttle.succeeded("192.0.2.3", "root")
    for number in range(250):
        throttle.failed(0.0, f"198.51.100.{number}", "root")
    throttle.check(0.0, "192.0.2.3", "root")
    with pytest.raises(Throttled):
        throttle.check(0.0, "192.0.2.4", "root")


def test_an_ipv6_source_cannot_change_its_address_within_its_network() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.failed(0.0, f"2001:db8::{number}", f"account{number}")
    with pytest.raises(Throttled):
        throttle.check(0.0, "2001:db8::ffff", "root")
    throttle.check(0.0, "2001:db8:0:1::1", "root")


def test_the_throttle_forgets_what_is_too_much() -> None:
    throttle = Throttle()
    for number in range(25_000):
        throttle.failed(0.0, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"a{number}")
    assert len(throttle._sources._paid_until) == len(throttle._accounts._paid_until) == 10_000


async def test_a_token_opens_what_its_scopes_say_until_it_ends(bench: Bench) -> None:
    access = bench.config.access
    made = await access.create_token("ansible", [Scope.CONFIG_WRITE, Scope.CONFIG_READ], "root", lifetime=3600.0)
    assert made.text not in repr(made)
    found = access.token(made.text, HERE)
    assert found is not None
    assert found.scopes == (Scope.CONFIG_READ, Scope.CONFIG_WRITE)
    assert (access.tokens()[0].used_at, access.tokens()[0].used_from) == (bench.clock(), HERE)
    bench.clock.now += 3600
    assert access.token(made.text, HERE) is None
    assert len(access.tokens()) == 1


async def test_a_token_that_is_not_quite_right_opens_nothing(bench: Bench) -> None:
    access = bench.config.access
    made = await access.create_token("ansible", [Scope.ADMIN], "root")
    other = await access.create_token("other", [Scope.CONFIG_READ], "root")
    public_id, secret = split_token(made.text) or ("", "")
    other_id, other_secret = split_token(other.text) or ("", "")
    wrong = [
        "",
        made.text[:-1],
        made.text.replace("ikg_", "ikx_"),
        made.text[:-1] + ("0" if made.text[-1] != "0" else "1"),
        token_text(public_id, other_secret),
        token_text(other_id, secret),
        token_text("aaaaaaaa", secret),
        token_text(public_id, "A" * 43),
    ]
    assert [access.token(text, HERE) for text in wrong] == [None] * len(wrong)


async def test_a_deleted_token_opens_nothing(bench: Bench) -> None:
    access = bench.config.access
    made = await access.create_token("ansible", [Scope.ADMIN], "root")
    with pytest.raises(Invalid):
        await access.create_token("ansible", [Scope.ADMIN], "root")
    await access.delete_token(made.token.id, "root")
    assert access.token(made.text, HERE) is None
    with pytest.raises(TokenNotFound):
        await access.delete_token(made.token.id, "root")


@pytest.mark.parametrize(
    ("name", "scopes", "lifetime"),
    [("", [Scope.ADMIN], 60.0), ("a", [], 60.0), ("a", [Scope.ADMIN], 0.0), ("a", [Scope.ADMIN], 367 * 86_400.0)],
)
async def test_tokens_that_are_not_made(bench: Bench, name: str, scopes: list[Scope], lifetime: float) -> None:
    with pytest.raises(Invalid):
        await bench.config.access.create_token(name, scopes, "root", lifetime)
