"""The use cases of configuration: what a change stores, pushes, tells, and when it is refused."""

import asyncio
from typing import Any

import pytest

from gateway.policy.changes import Changes
from gateway.service.manage import Configuration, Conflict, Invalid, NotFound, PreconditionFailed, Terms, Written
from tests.service.bench import Bench
from tests.service.samples import DRY, KEY, ME, NET, SUN, codes


def test_a_new_gateway_has_its_first_proposals_as_revision_1(config: Configuration) -> None:
    assert config.revision == 1
    assert [proposal.name for proposal in config.proposals()] == [
        "compatible-esp",
        "compatible-ike",
        "modern-esp",
        "modern-ike",
        "modern-pq-ike",
    ]
    assert config.snapshot().revision == 1
    assert [revision.summary for revision in config.revisions()] == ["First start"]


async def test_a_new_peer_is_stored_pushed_told_and_there_after_a_restart(bench: Bench) -> None:
    written = await bench.config.put("peers", "sun", SUN, ME)
    assert (written.changed, written.created, written.revision, written.etag) == (True, True, 2, '"2"')
    assert written.impact == Changes(added=("sun",))
    assert bench.pushed.snapshots[-1] is bench.config.snapshot()
    assert bench.config.snapshot().peers["sun"].children[0].name == "net"
    record = bench.journal.latest(1)[0]
    assert (record.kind, record.text) == ("config.changed", "Added peer sun (revision 2, by me)")
    before = bench.config.inventory
    bench.reopen()
    assert bench.config.inventory == before


async def test_the_same_again_makes_no_revision_and_no_push(bench: Bench) -> None:
    first = await bench.config.put("peers", "sun", SUN, ME)
    pushes = len(bench.pushed.snapshots)
    assert first.document is not None
    for document in (SUN, first.document):
        again = await bench.config.put("peers", "sun", document, ME)
        assert (again.changed, again.created, again.revision, again.etag) == (False, False, 2, '"2"')
    assert len(bench.pushed.snapshots) == pushes
    assert len(bench.config.revisions()) == 2


async def test_a_description_is_a_revision_that_disturbs_nobody(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    written = await config.patch("peers", "sun", {"description": "the other side"}, ME)
    assert (written.changed, written.revision) == (True, 3)
    assert not (written.impact.renegotiate or written.impact.children or written.impact.removed)


async def test_a_dry_run_tells_all_and_stores_nothing(bench: Bench) -> None:
    await bench.config.put("peers", "sun", SUN, ME)
    before, pushes = bench.config.inventory, len(bench.pushed.snapshots)
    written = await bench.config.patch("peers", "sun", {"remote_id": "star.example"}, DRY)
    assert (written.changed, written.dry_run, written.revision, written.etag) == (True, True, 2, None)
    assert written.impact == Changes(renegotiate=("sun",))
    assert [(field.pointer, field.old, field.new) for field in written.differences[0].fields] == [
        ("/remote_id", "sun.example", "star.example")
    ]
    assert bench.config.inventory is before
    assert len(bench.pushed.snapshots) == pushes
    bench.reopen()
    assert bench.config.inventory == before


async def test_every_mistake_of_a_document_is_named_with_its_place(config: Configuration) -> None:
    wrong = {
        "local_id": "not a name",
        "remote_id": "*bad wildcard*",
        "local_addresses": ["10.0.0.256"],
        "remote_addresses": ["192.0.2.1", "10.0.0.1/8", "no host name!"],
        "ike_proposals": ["nobody", "modern-esp"],
        "children": [
            NET,
            {"name": "net", "local_selectors": ["10.1.0.1/24"], "remote_selectors": ["10.2.0.0/24[/443]"]},
            {"name": "six", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["2001:db8::/64"]},
        ],
    }
    with pytest.raises(Invalid) as invalid:
        await config.put("peers", "sun", wrong, ME)
    assert sorted(codes(invalid)) == [
        ("/children/1/local_selectors/0", "invalid-selector"),
        ("/children/1/name", "duplicate"),
        ("/children/1/remote_selectors/0", "invalid-selector"),
        ("/children/2/remote_selectors", "no-common-version"),
        ("/ike_proposals/0", "unknown-reference"),
        ("/ike_proposals/1", "wrong-protocol"),
        ("/local_addresses/0", "invalid-address"),
        ("/local_id", "invalid-identity"),
        ("/remote_addresses/1", "invalid-address"),
        ("/remote_addresses/2", "invalid-address"),
        ("/remote_id", "invalid-identity"),
    ]
    assert config.revision == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"nonsense": 1}, "/nonsense"),
        ({"remote_port": 70_000}, "/remote_port"),
        ({"remote_port": "500"}, "/remote_port"),
        ({"enabled": "yes"}, "/enabled"),
        ({"dpd_delay": float("inf")}, "/dpd_delay"),
        ({"rekey_time": 0}, "/rekey_time"),
        ({"unique": "sometimes"}, "/unique"),
        ({"retransmit": {"tries": 0}}, "/retransmit/tries"),
        ({"remote_id": "a\nb"}, "/remote_id"),
        ({"name": "moon"}, "/name"),
    ],
)
async def test_what_has_the_wrong_form_is_refused(config: Configuration, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await config.put("peers", "sun", {**SUN, **change}, ME)
    assert [error.pointer for error in invalid.value.errors] == [pointer]


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "x" * 64, "ü", "a\n"])
async def test_a_name_is_plain(config: Configuration, name: str) -> None:
    with pytest.raises(Invalid):
        await config.put("peers", name, SUN, ME)


async def test_a_child_twice_is_a_mistake_even_if_nothing_else_differs(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    with pytest.raises(Invalid) as invalid:
        await config.put("peers", "sun", {**SUN, "children": [NET, NET]}, ME)
    assert codes(invalid) == [("/children/1/name", "duplicate")]


async def test_the_order_of_children_means_nothing(config: Configuration) -> None:
    two = {**NET, "name": "two"}
    await config.put("peers", "sun", {**SUN, "children": [NET, two]}, ME)
    assert not (await config.put("peers", "sun", {**SUN, "children": [two, NET]}, ME)).changed


@pytest.mark.parametrize("description", ["\x00", "\u2028\x85", "\U0001f511", "'; DROP TABLE peers; --"])
async def test_odd_texts_survive_a_restart(bench: Bench, description: str) -> None:
    await bench.config.put("peers", "sun", {**SUN, "description": description}, ME)
    bench.reopen()
    assert bench.config.peer("sun").description == description


async def test_addresses_are_pushed_in_their_one_spelling(config: Configuration) -> None:
    await config.put("peers", "sun", {**SUN, "remote_addresses": ["2001:DB8:0::1", "10.0.0.0/8", "Sun.example"]}, ME)
    assert config.snapshot().peers["sun"].remote_addresses == ("2001:db8::1", "10.0.0.0/8", "Sun.example")
    assert config.peer("sun").remote_addresses[0] == "2001:DB8:0::1"


async def test_children_have_versions_of_their_own(config: Configuration) -> None:
    await config.put("peers", "sun", {**SUN, "children": [NET, {**NET, "name": "two"}]}, ME)
    written = await config.patch("children", "sun/two", {"start": "passive"}, ME)
    assert written.impact == Changes(children={"sun": ("two",)})
    assert config.etag("children", "sun/net") == '"2"'
    assert config.etag("children", "sun/two") == config.etag("peers", "sun") == written.etag == '"3"'
    assert written.document is not None
    assert (written.document["name"], written.document["start"]) == ("two", "passive")


async def test_a_child_comes_and_goes(config: Configuration) -> None:
    await config.put("peers", "sun", {"remote_id": "sun.example"}, ME)
    assert (await config.put("children", "sun/net", NET, ME)).created
    assert config.child("sun", "net").start == "always"
    with pytest.raises(Invalid) as invalid:
        await config.put("children", "sun/net", {**NET, "remote_selectors": ["nowhere"]}, ME)
    assert codes(invalid) == [("/remote_selectors/0", "invalid-selector")]
    gone = await config.delete("children", "sun/net", ME)
    assert gone.document is None
    assert config.peer("sun").children == ()
    for name in ("net", "other"):
        with pytest.raises(NotFound):
            await config.delete("children", f"sun/{name}", ME)
    with pytest.raises(NotFound):
        await config.put("children", "moon/net", NET, ME)


async def test_a_proposal_in_use_stays(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    for name, users in (("modern-pq-ike", ("peers/sun",)), ("modern-esp", ("peers/sun/children/net",))):
        with pytest.raises(Conflict) as conflict:
            await config.delete("proposals", name, ME)
        assert conflict.value.used_by == users
    assert (await config.delete("proposals", "compatible-ike", ME)).changed


async def test_a_proposal_cannot_change_under_its_users(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    with pytest.raises(Invalid) as invalid:
        await config.put("proposals", "modern-pq-ike", {"protocol": "esp", "suites": ["aes256gcm16"]}, ME)
    assert codes(invalid) == [("/peers/sun/ike_proposals/0", "wrong-protocol")]


async def test_a_changed_proposal_reaches_its_users(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    suites = ["aes128gcm16-prfsha256-x25519"]
    written = await config.put("proposals", "modern-pq-ike", {"protocol": "ike", "suites": suites}, ME)
    assert written.impact == Changes(renegotiate=("sun",))
    assert [proposal.keywords for proposal in config.snapshot().peers["sun"].proposals] == suites


@pytest.mark.parametrize(
    "suite", ["", "aes256gcm16", "aes256-x25519", "des-md5-modp768", "aes256gcm16-prfsha256-x25519-esn"]
)
async def test_suites_that_make_no_proposal_are_refused(config: Configuration, suite: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await config.put("proposals", "mine", {"protocol": "ike", "suites": [suite]}, ME)
    assert "/suites/0" in [error.pointer for error in invalid.value.errors]


@pytest.mark.parametrize(
    ("text", "octets"),
    [("héllo", "héllo".encode()), ("0x00ff7F", b"\x00\xff\x7f"), ("0sAP8=", b"\x00\xff"), ("0", b"0")],
)
async def test_a_key_is_text_hexadecimal_or_base64(config: Configuration, text: str, octets: bytes) -> None:
    await config.put("psks", "key", {"secret": text}, ME)
    assert config.snapshot().psks[0].secret == octets


@pytest.mark.parametrize("text", ["0x0", "0xzz", "0s***", "0x", "0s", ""])
async def test_a_malformed_key_is_refused_without_repeating_it(config: Configuration, text: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await config.put("psks", "key", {"secret": text}, ME)
    assert [error.pointer for error in invalid.value.errors] == ["/secret"]
    assert not text or text not in str(invalid.value)


async def test_a_key_keeps_its_secret_until_it_gets_another(bench: Bench) -> None:
    config = bench.config
    await config.put("peers", "sun", SUN, ME)
    with pytest.raises(Invalid) as invalid:
        await config.put("psks", "key", {"remote_ids": ["sun.example"]}, ME)
    assert codes(invalid) == [("/secret", "missing")]
    await config.put("psks", "key", KEY, ME)
    await config.patch("psks", "key", {"description": "with sun"}, ME)
    assert config.snapshot().psks[0].secret == b"the quick brown fox"
    same = await config.put("psks", "key", {**KEY, "description": "with sun"}, ME)
    assert not same.changed
    changed = await config.patch("psks", "key", {"secret": "another"}, ME)
    assert changed.impact == Changes(renegotiate=("sun",))
    assert [(field.pointer, field.new) for field in changed.differences[0].fields] == [("/secret", "(another secret)")]
    bench.reopen()
    assert bench.config.snapshot().psks[0].secret == b"another"


async def test_preconditions(config: Configuration) -> None:
    async def put(change: dict[str, Any], **terms: str) -> Written:
        return await config.put("peers", "sun", {**SUN, **change}, Terms("me", **terms))

    with pytest.raises(PreconditionFailed) as missing:
        await put({}, if_match="*")
    assert missing.value.etag is None
    first = await put({}, if_none_match="*")
    with pytest.raises(PreconditionFailed) as there:
        await put({}, if_none_match="*")
    assert there.value.etag == first.etag == '"2"'
    second = await put({"description": "b"}, if_match='"1", "2"')
    for stale in ('"2"', 'W/"3"', '"nothing"', ""):
        with pytest.raises(PreconditionFailed):
            await put({"description": "c"}, if_match=stale)
    with pytest.raises(PreconditionFailed):
        await config.delete("peers", "sun", Terms("me", if_match='"2"'))
    assert second.etag is not None
    await config.delete("peers", "sun", Terms("me", if_match=second.etag))


async def test_of_two_editors_of_one_version_one_wins(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    edits = [config.patch("peers", "sun", {"description": who}, Terms(who, if_match='"2"')) for who in ("a", "b", "c")]
    outcomes = await asyncio.gather(*edits, return_exceptions=True)
    assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, Written) for outcome in outcomes) == 1
    assert config.revision == 3


async def test_many_writers_at_once_lose_nothing(bench: Bench) -> None:
    names = [f"peer-{number}" for number in range(20)]
    await asyncio.gather(*(bench.config.put("peers", name, SUN, ME) for name in names))
    assert bench.config.revision == 21
    assert sorted(bench.config.inventory.peers) == sorted(names)
    assert [snapshot.revision for snapshot in bench.pushed.snapshots[1:]] == list(range(2, 22))
    bench.reopen()
    assert sorted(bench.config.snapshot().peers) == sorted(names)


async def test_a_change_is_pushed_though_its_caller_went_away(bench: Bench) -> None:
    task = asyncio.ensure_future(bench.config.put("peers", "sun", SUN, ME))
    while not bench.config._writing.locked():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with bench.config._writing:
        assert bench.pushed.snapshots[-1].peers.keys() == {"sun"}
    assert bench.config.revision == 2
