"""Configuration as a whole: documents laid over it, and revisions that come back."""

import asyncio
from typing import Any

import pytest

from gateway.policy.changes import Changes
from gateway.service.manage import Configuration, Invalid, NotFound
from gateway.storage.objects import KINDS
from gateway.storage.rules import SettingsObject
from tests.pki import root
from tests.service.samples import DRY, KEY, ME, NET, SUN, codes


async def test_a_document_is_laid_over_in_one_revision(config: Configuration) -> None:
    await config.put("peers", "old", {**SUN, "remote_id": "old.example"}, ME)
    written = await config.apply(DOCUMENT, ME)
    assert (written.revision, written.impact) == (3, Changes(added=("star", "sun")))
    assert sorted(config.inventory.peers) == ["old", "star", "sun"]
    assert not (await config.apply(DOCUMENT, ME)).changed


async def test_prune_takes_away_what_is_not_in_it(config: Configuration) -> None:
    await config.put("peers", "old", SUN, ME)
    with pytest.raises(Invalid) as invalid:
        await config.apply(DOCUMENT, ME, prune=True)
    assert sorted(codes(invalid)) == [
        ("/peers/0/children/0/esp_proposals/0", "unknown-reference"),
        ("/peers/1/ike_proposals/0", "unknown-reference"),
    ]
    written = await config.apply({"apiVersion": "ikegate/v1"}, DRY, prune=True)
    assert written.impact == Changes(removed=("old",))
    await config.apply({"apiVersion": "ikegate/v1"}, ME, prune=True)
    assert config.export() == {
        "apiVersion": "ikegate/v1",
        **{kind: [] for kind in KINDS},
        "settings": SettingsObject().model_dump(),
    }


async def test_an_export_applied_is_no_change(config: Configuration) -> None:
    await config.apply(DOCUMENT, ME)
    written = await config.apply(config.export(), ME, prune=True)
    assert not written.changed
    assert config.snapshot().psks[0].secret == b"the quick brown fox"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"apiVersion": "ikegate/v2"}, ("/apiVersion", "literal_error")),
        ({"peers": [{"name": "a", **SUN}, {"name": "a", **SUN}]}, ("/peers/1/name", "duplicate")),
        ({"peers": [{"name": "a", "ike_proposals": ["no"]}]}, ("/peers/0/ike_proposals/0", "unknown-reference")),
        ({"psks": [{"name": "a"}]}, ("/psks/0/secret", "missing")),
        ({"psks": [{"name": "a", "secret": "0x1"}]}, ("/psks/0/secret", "invalid-secret")),
        ({"surplus": []}, ("/surplus", "extra_forbidden")),
    ],
)
async def test_a_wrong_document_is_refused_whole(
    config: Configuration, change: dict[str, Any], code: tuple[str, str]
) -> None:
    with pytest.raises(Invalid) as invalid:
        await config.apply({**DOCUMENT, **change}, ME)
    assert codes(invalid) == [code]
    assert config.revision == 1


async def test_going_back_to_a_revision_keeps_present_secrets(config: Configuration) -> None:
    await config.apply(DOCUMENT, ME)
    await config.patch("psks", "key", {"secret": "newer"}, ME)
    await config.delete("peers", "sun", ME)
    back = await config.restore(2, ME)
    assert back.impact.added == ("sun",)
    assert config.snapshot().psks[0].secret == b"newer"
    assert config.revisions(limit=1)[0].comment == "Back to revision 2"
    with pytest.raises(NotFound):
        await config.restore(99, ME)


async def test_going_back_keeps_an_authority_as_a_change_before_it_leaves_it(config: Configuration) -> None:
    authority = {"certificate": root("O=Lab, CN=Root").pem}
    await config.put("authorities", "ca", authority, ME)
    change = asyncio.ensure_future(config.patch("authorities", "ca", {"description": "newer"}, ME))
    await asyncio.sleep(0)
    await asyncio.gather(change, config.restore(2, ME))
    assert config.inventory.authorities["ca"].description == "newer"


async def test_going_back_brings_no_certificate_back_that_an_authority_revoked_before_it_went(
    config: Configuration,
) -> None:
    ours, another = ({"certificate": root(name).pem} for name in ("O=Lab, CN=Root", "O=Lab, CN=Other"))
    await config.put("authorities", "ca", ours, ME)
    await config.patch("authorities", "ca", {"revoked": [{"serial": "5", "at": 1.0}]}, ME)
    await config.delete("authorities", "ca", ME)
    await config.put("authorities", "ca", {**another, "revoked": [{"serial": "6", "at": 1.0}]}, ME)
    await config.delete("authorities", "ca", ME)
    await config.restore(2, ME)
    assert [one.serial for one in config.inventory.authorities["ca"].revoked] == ["5"]


async def test_a_key_that_is_gone_cannot_be_brought_back_without_its_secret(config: Configuration) -> None:
    await config.apply(DOCUMENT, ME)
    await config.delete("psks", "key", ME)
    with pytest.raises(Invalid) as invalid:
        await config.restore(2, ME)
    assert codes(invalid) == [("/psks/0/secret", "missing")]


async def test_what_a_revision_changed(config: Configuration) -> None:
    await config.apply(DOCUMENT, ME)
    await config.patch("peers", "sun", {"children": [{**NET, "start": "passive"}], "dpd_delay": 5}, ME)
    found = config.revision_differences(3)
    assert [(field.pointer, field.old, field.new) for field in found[0].fields] == [
        ("/dpd_delay", 30.0, 5.0),
        ("/children/net/start", "always", "passive"),
    ]
    assert {(one.kind, one.name, one.action) for one in config.revision_differences(3, 1)} == {
        ("proposals", "mine", "add"),
        ("psks", "key", "add"),
        ("peers", "sun", "add"),
        ("peers", "star", "add"),
    }
    assert len(config.revision_differences(1)) == 5
    with pytest.raises(NotFound):
        config.revision_differences(9)


DOCUMENT: dict[str, Any] = {
    "apiVersion": "ikegate/v1",
    "proposals": [{"name": "mine", "protocol": "ike", "suites": ["aes256gcm16-prfsha384-ecp384"]}],
    "psks": [{"name": "key", **KEY}],
    "peers": [{"name": "sun", **SUN, "ike_proposals": ["mine"]}, {"name": "star", "remote_id": "star.example"}],
}
