"""Shunts, blocked sources and the settings: stored, compiled, told, and blocks that run out by themselves."""

import asyncio
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from gateway.policy.changes import Changes
from gateway.policy.peers import Shunt, ShuntAction
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings
from gateway.service.differences import summary
from gateway.service.expiry import Expiry
from gateway.service.manage import Configuration, Invalid, NotFound, PreconditionFailed, Terms
from gateway.storage.compiling.rules import compile_settings
from gateway.storage.findings import Findings
from gateway.storage.rules import SettingsObject
from tests.service.bench import Bench

ME = Terms("me")
DRY = Terms("me", dry_run=True)
LAN: dict[str, Any] = {"action": "pass", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.1.0.0/16"]}
SELECTORS = ((Selector.parse("10.1.0.0/24"),), (Selector.parse("10.1.0.0/16"),))


async def _refused(config: Configuration, kind: str, name: str, document: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as invalid:
        await config.put(kind, name, document, ME)
    return [(error.pointer, error.code) for error in invalid.value.errors]


async def test_a_shunt_is_laid_changed_and_taken_away(bench: Bench) -> None:
    config = bench.config
    first = Shunt("lan", ShuntAction.PASS, *SELECTORS)
    assert (await config.put("shunts", "lan", LAN, ME)).impact == Changes(shunts_added=(first,))
    later = Shunt("lan", ShuntAction.DROP, *SELECTORS, 5)
    changed = await config.patch("shunts", "lan", {"action": "drop", "priority": 5}, ME)
    assert changed.impact == Changes(shunts_removed=(first,), shunts_added=(later,))
    assert summary(changed.differences) == "Changed shunt lan"
    assert (await config.patch("shunts", "lan", {"description": "words"}, ME)).impact.empty
    bench.reopen()
    assert bench.config.snapshot().shunts == (Shunt("lan", ShuntAction.DROP, *SELECTORS, 5, "words"),)
    assert (await bench.config.delete("shunts", "lan", ME)).impact == Changes(shunts_removed=(later,))
    with pytest.raises(NotFound):
        await bench.config.delete("shunts", "lan", ME)


async def test_a_shunt_s_mistakes_are_named(config: Configuration) -> None:
    wrong = {**LAN, "local_selectors": ["10.1.0.1/24"], "remote_selectors": ["nowhere"]}
    assert await _refused(config, "shunts", "lan", wrong) == [
        ("/local_selectors/0", "invalid-selector"),
        ("/remote_selectors/0", "invalid-selector"),
    ]
    six = {**LAN, "remote_selectors": ["2001:db8::/64"]}
    assert await _refused(config, "shunts", "lan", six) == [("/remote_selectors", "no-common-version")]
    for change in ({"action": "reject"}, {"priority": -1}, {"priority": 10_001}, {"local_selectors": []}):
        assert [at for at, _ in await _refused(config, "shunts", "lan", {**LAN, **change})] == [
            f"/{next(iter(change))}"
        ]


async def test_a_source_is_blocked_until_it_is_let_in(config: Configuration) -> None:
    written = await config.put("blocks", "198.51.100.0/24", {"reason": "scans"}, ME)
    assert written.impact == Changes(blocked_added=("198.51.100.0/24",))
    assert written.document == {"network": "198.51.100.0/24", "reason": "scans", "expires_at": None}
    assert config.snapshot().blocked == ("198.51.100.0/24",)
    assert (await config.patch("blocks", "198.51.100.0/24", {"reason": "still scans"}, ME)).impact.empty
    with pytest.raises(PreconditionFailed):
        await config.delete("blocks", "198.51.100.0/24", Terms("me", if_match='"2"'))
    gone = await config.delete("blocks", "198.51.100.0/24", Terms("me", if_match='"3"'))
    assert gone.impact == Changes(blocked_removed=("198.51.100.0/24",))


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:DB8:0::/48", "2001:db8::/48"),
        (" 192.0.2.0/255.255.255.0 ", "192.0.2.0/24"),
    ],
)
async def test_a_blocked_network_has_one_spelling(config: Configuration, text: str, spelling: str) -> None:
    await config.apply({"apiVersion": "ikegate/v1", "blocks": [{"network": text}]}, ME)
    assert list(config.inventory.blocks) == [spelling]
    assert not (await config.put("blocks", spelling, {"network": text}, ME)).changed


@pytest.mark.parametrize("text", ["192.0.2.1/24", "somebody", "", "192.0.2.0/33", "x" * 65])
async def test_what_is_no_network_is_refused(config: Configuration, text: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await config.apply({"apiVersion": "ikegate/v1", "blocks": [{"network": text}]}, ME)
    assert [error.pointer for error in invalid.value.errors] == ["/blocks/0/network"]


async def test_one_network_twice_is_a_mistake(config: Configuration) -> None:
    twice = [{"network": "192.0.2.7/32"}, {"network": "192.0.2.7"}]
    with pytest.raises(Invalid) as invalid:
        await config.apply({"apiVersion": "ikegate/v1", "blocks": twice}, ME)
    assert [(error.pointer, error.code) for error in invalid.value.errors] == [("/blocks/1/network", "duplicate")]


async def test_nobody_blocks_a_peer_of_ours(config: Configuration) -> None:
    peer = {"remote_id": "sun.example", "remote_addresses": ["192.0.2.1", "sun.example", "2001:db8::1"]}
    await config.put("peers", "sun", peer, ME)
    for network in ("192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/32"):
        assert await _refused(config, "blocks", network, {}) == [("/network", "blocks-peer")]
    assert await _refused(config, "blocks", "0.0.0.0/0", {"expires_at": 1_900_000_000}) == [("/network", "blocks-peer")]
    await config.put("blocks", "192.0.2.0/24", {"expires_at": 1}, ME)
    await config.put("blocks", "192.0.2.128/25", {}, ME)
    await config.patch("peers", "sun", {"enabled": False}, ME)
    await config.put("blocks", "0.0.0.0/0", {}, ME)
    assert await _refused(config, "peers", "sun", peer) == [("/blocks/0.0.0.0~10/network", "blocks-peer")]


async def test_a_clock_that_was_set_back_keeps_nobody_from_starting(bench: Bench) -> None:
    """A block that had run out is there again, and by now holds a peer."""
    await bench.config.put("blocks", "192.0.2.0/24", {"expires_at": bench.clock() - 1}, ME)
    await bench.config.put("peers", "sun", {"remote_id": "sun.example", "remote_addresses": ["192.0.2.1"]}, ME)
    bench.clock.now = 0
    bench.reopen()
    assert bench.config.snapshot().blocked == ("192.0.2.0/24",)


async def test_blocks_run_out_by_themselves(bench: Bench) -> None:
    config, now = bench.config, bench.clock()
    for network, after in (("192.0.2.0/24", 0.05), ("198.51.100.0/24", 0.1), ("203.0.113.0/24", 3600.0)):
        await config.put("blocks", network, {"expires_at": now + after}, ME)
    await config.put("blocks", "2001:db8::/32", {}, ME)
    revision = config.revision
    bench.clock.now = now + 0.05
    await _until(lambda: "192.0.2.0/24" not in config.snapshot().blocked)
    assert config.snapshot().blocked == ("198.51.100.0/24", "2001:db8::/32", "203.0.113.0/24")
    bench.clock.now = now + 0.1
    await _until(lambda: "198.51.100.0/24" not in config.snapshot().blocked)
    assert bench.pushed.snapshots[-1] is config.snapshot()
    assert config.revision == revision == config.snapshot().revision
    told = bench.journal.latest(1)[0]
    assert (told.kind, told.text) == ("block.expired", "No longer blocked, the time is over: 198.51.100.0/24")
    assert "198.51.100.0/24" in config.inventory.blocks  # it is still written down
    bench.config.stop()
    bench.clock.now = now + 3600
    bench.reopen()
    assert bench.config.snapshot().blocked == ("2001:db8::/32",)


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.01)


async def test_a_block_that_is_taken_away_or_prolonged_does_not_run_out(bench: Bench) -> None:
    config, now = bench.config, bench.clock()
    await config.put("blocks", "192.0.2.0/24", {"expires_at": now + 0.05}, ME)
    await config.put("blocks", "192.0.2.0/24", {"expires_at": now + 50}, ME)
    await config.put("blocks", "198.51.100.0/24", {"expires_at": now + 0.05}, ME)
    await config.delete("blocks", "198.51.100.0/24", ME)
    pushes = len(bench.pushed.snapshots)
    bench.clock.now = now + 1
    await asyncio.sleep(0.2)
    assert len(bench.pushed.snapshots) == pushes
    config.stop()


async def test_a_timer_waits_on_when_the_clock_was_set_back() -> None:
    moment, due = [100.0], asyncio.Event()
    expiry = Expiry(lambda: moment[0], due.set)
    expiry.wait_for(100.02)
    moment[0] = 99.9
    await asyncio.sleep(0.06)
    assert not due.is_set()
    moment[0] = 100.02
    async with asyncio.timeout(10):
        await due.wait()
    expiry.wait_for(100.01)
    expiry.wait_for(None)
    due.clear()
    await asyncio.sleep(0.02)
    assert not due.is_set()


def test_the_settings_are_the_engine_s_with_its_defaults() -> None:
    day = {"post_quantum_from"}  # of `post_quantum`, which holds both for the engine
    assert SettingsObject.model_fields.keys() - day == {one.name for one in fields(EngineSettings)}
    assert compile_settings(SettingsObject(), "", Findings()) == EngineSettings()


async def test_settings_are_one_object(bench: Bench) -> None:
    config = bench.config
    assert config.etag("settings", "gateway") == '"1"'
    written = await config.patch("settings", "gateway", {"puzzles": True, "redirect_to": "vpn2.example"}, ME)
    assert (written.created, written.etag, written.impact) == (
        False,
        '"2"',
        Changes(settings=("puzzles", "redirect_to")),
    )
    assert summary(written.differences) == "Changed settings"
    assert config.snapshot().settings == EngineSettings(puzzles=True, redirect_to="vpn2.example")
    with pytest.raises(PreconditionFailed):
        await config.put("settings", "gateway", {}, Terms("me", if_match='"1"'))
    bench.reopen()
    assert bench.config.snapshot().settings.puzzles
    assert (await bench.config.put("settings", "gateway", {}, ME)).impact.settings == ("puzzles", "redirect_to")


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"retry_limit": 1}, "/retry_limit", "below-base"),
        ({"half_open_limit": 10, "half_open_per_source": 5}, "/cookie_threshold", "above-limit"),
        ({"redirect_to": "10.0.0.0/8"}, "/redirect_to", "invalid-address"),
        ({"redirect_to": "no name"}, "/redirect_to", "invalid-address"),
        ({"keepalive": 0}, "/keepalive", "greater_than_equal"),
        ({"puzzles": "yes"}, "/puzzles", "bool_type"),
        ({"surplus": 1}, "/surplus", "extra_forbidden"),
    ],
)
async def test_settings_have_limits(config: Configuration, change: dict[str, Any], pointer: str, code: str) -> None:
    assert await _refused(config, "settings", "gateway", change) == [(pointer, code)]


async def test_a_document_holds_rules_and_settings(config: Configuration) -> None:
    document: dict[str, Any] = {
        "apiVersion": "ikegate/v1",
        "shunts": [{"name": "lan", **LAN}],
        "blocks": [{"network": "198.51.100.0/24"}],
        "settings": {"puzzles": True},
    }
    written = await config.apply(document, DRY)
    assert [(one.kind, one.name, one.action) for one in written.differences] == [
        ("shunts", "lan", "add"),
        ("blocks", "198.51.100.0/24", "add"),
        ("settings", "gateway", "change"),
    ]
    assert [(field.pointer, field.new) for field in written.differences[2].fields] == [("/puzzles", True)]
    await config.apply(document, ME)
    assert not (await config.apply(config.export(), ME, prune=True)).changed
    assert not (await config.apply({"apiVersion": "ikegate/v1"}, ME)).changed
    await config.apply({"apiVersion": "ikegate/v1"}, ME, prune=True)
    assert (config.inventory.shunts, config.inventory.blocks) == ({}, {})
    assert config.inventory.settings == SettingsObject()
    back = await config.restore(2, ME)
    assert back.impact.settings == ("puzzles",)
    assert list(config.inventory.shunts) == ["lan"]
    assert len(config.revision_differences(2)) == 3
