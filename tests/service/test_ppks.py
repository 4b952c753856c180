"""Post-quantum pre-shared keys as an administrator keeps them: checked, sealed, named by peers, changed end by end."""

from typing import Any

import pytest

from gateway.policy.peers import PpkExchange
from gateway.policy.ppks import Ppk
from gateway.service.manage import Configuration, Conflict, Invalid, Terms

ME = Terms("me")
SECRET = "0x" + bytes(range(32)).hex()
SUN = {"local_id": "moon.example", "remote_id": "sun.example", "remote_addresses": ["192.0.2.2"]}


async def test_a_peer_names_its_keys(config: Configuration) -> None:
    await config.put("ppks", "this-year", {"identity": "2026.sun", "secret": SECRET}, ME)
    await config.put("peers", "sun", {**SUN, "ppks": ["this-year"], "ppk_required": True}, ME)
    snapshot = config.snapshot()
    assert snapshot.ppks == {"this-year": Ppk("this-year", "2026.sun", bytes(range(32)))}
    assert snapshot.ppks["this-year"].ppk_id == b"\x022026.sun"
    assert (snapshot.peers["sun"].ppks, snapshot.peers["sun"].ppk_required) == (("this-year",), True)
    with pytest.raises(Conflict) as used:
        await config.delete("ppks", "this-year", ME)
    assert used.value.used_by == ("peers/sun",)
    await config.patch("peers", "sun", {"ppks": None, "ppk_required": None}, ME)
    await config.delete("ppks", "this-year", ME)
    assert not config.snapshot().ppks


async def test_a_key_is_changed_without_dropping_what_stands(config: Configuration) -> None:
    await config.put("ppks", "old", {"identity": "old", "secret": SECRET}, ME)
    await config.put("ppks", "new", {"identity": "new", "secret": "0x" + "00" * 31 + "0f"}, ME)
    await config.put("peers", "sun", {**SUN, "ppks": ["old"], "ppk_required": True}, ME)
    done = await config.patch("peers", "sun", {"ppks": ["new", "old"]}, ME)
    assert (done.impact.renegotiate, done.impact.adjusted) == ((), ("sun",))
    stored = await config.patch("ppks", "new", {"description": "from May on"}, ME)
    assert stored.changed
    assert config.snapshot().ppks["new"].secret == bytes(31) + b"\x0f"


@pytest.mark.parametrize(
    ("kind", "name", "document", "pointer", "code"),
    [
        ("ppks", "a", {"identity": "a"}, "/secret", "missing"),
        ("ppks", "a", {"identity": "a", "secret": "0x" + "ff" * 31}, "/secret", "invalid-secret"),
        ("ppks", "a", {"identity": "", "secret": SECRET}, "/identity", "string_too_short"),
        ("ppks", "a", {"identity": "two words", "secret": SECRET}, "/identity", "string_pattern_mismatch"),
        ("ppks", "a", {"identity": "x" * 256, "secret": SECRET}, "/identity", "string_too_long"),
        ("ppks", "a", {"identity": "taken", "secret": SECRET}, "/identity", "duplicate"),
        ("peers", "sun", {**SUN, "ppks": ["none"]}, "/ppks/0", "unknown"),
        ("peers", "sun", {**SUN, "ppk_required": True}, "/ppk_required", "without-keys"),
        ("peers", "sun", {**SUN, "redirect_to": "two words"}, "/redirect_to", "invalid-address"),
        ("peers", "sun", {**SUN, "redirect_to": "192.0.2.0/24"}, "/redirect_to", "invalid-address"),
    ],
)
async def test_what_cannot_be_is_refused(
    config: Configuration, kind: str, name: str, document: dict[str, Any], pointer: str, code: str
) -> None:
    await config.put("ppks", "there", {"identity": "taken", "secret": SECRET}, ME)
    with pytest.raises(Invalid) as refused:
        await config.put(kind, name, document, ME)
    assert (pointer, code) in [(error.pointer, error.code) for error in refused.value.errors]
    assert SECRET not in str(refused.value)


async def test_it_goes_with_eap_and_says_where_it_is_mixed_in(config: Configuration) -> None:
    await config.put("ppks", "there", {"identity": "taken", "secret": SECRET}, ME)
    eap = {"remote_auth": [{"method": "eap", "eap_methods": ["mschapv2"]}], "ppks": ["there"]}
    await config.put("peers", "sun", {**SUN, **eap}, ME)
    assert config.snapshot().peers["sun"].ppk_exchange == PpkExchange.EITHER
    await config.put("peers", "sun", {**SUN, **eap, "ppk_exchange": "intermediate"}, ME)
    assert config.snapshot().peers["sun"].ppk_exchange == PpkExchange.INTERMEDIATE
    with pytest.raises(Invalid) as refused:
        await config.put("peers", "sun", {**SUN, **eap, "ppk_exchange": "later"}, ME)
    assert [error.pointer for error in refused.value.errors] == ["/ppk_exchange"]


async def test_an_export_has_no_secret_and_takes_the_stored_one_back(config: Configuration) -> None:
    await config.put("ppks", "there", {"identity": "taken", "secret": SECRET}, ME)
    document = config.export()
    assert document["ppks"] == [{"name": "there", "description": "", "identity": "taken"}]
    done = await config.apply(document, ME, prune=True)
    assert not done.changed
    assert config.snapshot().ppks["there"].secret == bytes(range(32))


async def test_where_a_peer_belongs_reaches_the_engine_as_it_is_written(config: Configuration) -> None:
    await config.put("peers", "sun", {**SUN, "redirect_to": "vpn2.example.net"}, ME)
    assert config.snapshot().peers["sun"].redirect_to == "vpn2.example.net"
