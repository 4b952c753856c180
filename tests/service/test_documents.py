"""The document: what is read, what is refused, what an export looks like."""

from typing import Any

import pytest
import yaml

from gateway.service.differences import summary
from gateway.service.documents import merge_patch, pointer_of, read_text, write_text
from gateway.service.manage import Configuration, Invalid, Terms
from tests.service.bench import Bench


@pytest.mark.parametrize(
    "text",
    [
        '{"apiVersion": "ikegate/v1", "peers": []}',
        "apiVersion: ikegate/v1\npeers: []\n",
        "# words\napiVersion: ikegate/v1\npeers:\n  []",
    ],
)
def test_yaml_and_json_are_read_alike(text: str) -> None:
    assert read_text(text) == {"apiVersion": "ikegate/v1", "peers": []}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [1", "line 1"),
        ("a: 1\nb: 2\na: 3", "'a' is there twice (line 3, column 1)"),
        ("a: &x [1]\nb: *x", "aliases are not read (line 2, column 4)"),
        ("<<: {a: 1}\n<<: {b: 1}", "twice"),
        ("- 1", "a mapping"),
        ("", "a mapping"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: \x00", "special characters"),
        ("[" * 5000, ""),
        ("? {a: 1}\n: 2", ""),
        ("? [1]\n: 2", ""),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(Invalid) as invalid:
        read_text(text)
    assert why in invalid.value.errors[0].detail


def test_an_export_reads_back_and_stays_the_same(config: Configuration) -> None:
    text = write_text(config.export())
    assert read_text(text) == config.export() == yaml.safe_load(text)
    assert text.startswith("apiVersion: ikegate/v1\nproposals:\n- name: compatible-esp\n")
    assert write_text(read_text(text)) == text


async def test_texts_of_all_kinds_survive(config: Configuration) -> None:
    odd = "no: yes # ' \" {} ü \t end"
    await config.put("peers", "sun", {"remote_id": "keyid:0x00ff", "description": odd}, Terms("me"))
    assert read_text(write_text(config.export()))["peers"][0]["description"] == odd


# RFC 7396 appendix A
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_rfc(target: object, patch: object, result: object) -> None:
    assert merge_patch(target, patch) == result


def test_pointers_are_escaped() -> None:
    assert pointer_of(["a/b", "m~n", 0, ""]) == "/a~1b/m~0n/0/"
    assert pointer_of([]) == ""


async def test_many_differences_are_counted(config: Configuration) -> None:
    peers = [{"name": f"p{number}"} for number in range(6)]
    written = await config.apply({"apiVersion": "ikegate/v1", "peers": peers}, Terms("me"))
    assert summary(written.differences) == "6 objects: added 6"
    assert summary(written.differences[:2]) == "Added peer p0; Added peer p1"


PEER: dict[str, Any] = {
    "local_id": "moon.example",
    "remote_id": "sun.example",
    "remote_addresses": ["192.0.2.1"],
    "children": [{"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"]}],
}


async def test_what_is_written_from_memory_is_what_an_export_says(bench: Bench) -> None:
    """Whatever is done to objects, keys and children: every revision is the whole configuration."""
    config = bench.config
    me = Terms("me")
    await config.put("psks", "key", {"secret": "the quick brown fox jumps", "remote_ids": ["sun.example"]}, me)
    await config.put("peers", "sun", PEER, me)
    await config.put("peers", "star", PEER | {"remote_id": "star.example"}, me)
    await config.patch("peers", "sun", {"description": 'äöü \u2028 "quoted"'}, me)
    await config.put("children", "sun/more", PEER["children"][0] | {"name": "more"}, me)
    await config.put("psks", "key", {"secret": "another quick brown fox", "remote_ids": ["sun.example"]}, me)
    await config.delete("children", "sun/more", me)
    await config.delete("peers", "star", me)
    assert config.revision_document(config.revision)[1] == config.export()
    assert config.etag("peers", "sun")
    assert ("peers", "star") not in config.inventory.changed
    assert not [key for key in config.inventory.changed if key[1] in ("sun/more", "star/net")]
    bench.reopen()
    assert bench.config.inventory == config.inventory
