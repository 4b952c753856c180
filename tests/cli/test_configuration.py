"""The command about what is configured: lists, rules, and documents that go in and come out."""

import json
import re
import time

import pytest
import yaml

from tests.cli.served import Served, document


def test_what_is_configured_is_listed(moon: Served) -> None:
    lines = moon.ask("peers").stdout.splitlines()
    assert lines[0].split() == ["PEER", "ENABLED", "REMOTE", "THEY", "ARE", "WE", "ARE", "CHILDREN", "DESCRIPTION"]
    assert lines[1].split() == ["sun", "yes", "127.0.0.1", "sun.example", "moon.example", "net", "(passive)"]
    assert [peer["name"] for peer in moon.told("peers")] == ["sun"]


def test_sources_are_blocked_listed_and_unblocked(lone: Served) -> None:
    assert lone.ask("blocks").stdout == "Nobody is blocked.\n"
    done = lone.ask("block", "198.51.100.7", "--for", "12h", "--reason", "guesses\x1b[2J")
    assert done.stdout == "198.51.100.7/32 is blocked for 12 h.\n"
    assert lone.ask("block", "2001:DB8::/32").stdout == "2001:db8::/32 is blocked.\n"
    (first, second) = lone.told("blocks")
    assert 12 * 3600 - 60 < first["expires_at"] - time.time() <= 12 * 3600
    assert (second["expires_at"], second["active"]) == (None, True)
    lines = lone.ask("blocks").stdout.splitlines()
    assert lines[0].split() == ["NETWORK", "BLOCKED", "UNTIL", "REASON"]
    assert "guesses\\x1b[2J" in lines[1]
    assert lines[2].split() == ["2001:db8::/32", "yes", "unblocked"]
    lone.ask("block", "198.51.100.7/32", "--for", "0")
    assert [one["active"] for one in lone.told("blocks")] == [False, True]
    for network in ("198.51.100.7", "2001:db8::/32"):
        assert lone.ask("unblock", network).stdout.endswith(" is no longer blocked.\n")
    assert lone.ask("unblock", "198.51.100.7").exit_code == 1
    wrong = lone.ask("block", "198.51.100.7/24")
    assert (wrong.exit_code, "did you mean 198.51.100.0/24?" in wrong.stderr) == (1, True)
    assert lone.ask("block", "198.51.100.7", "--for", "soon").exit_code == 2


def test_shunts_are_listed_in_their_order(lone: Served) -> None:
    lan = {"local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.1.0.0/16"]}
    rules = [{"name": "a", "action": "pass", **lan}, {"name": "b", "action": "drop", **lan, "priority": 5}]
    applied = lone.apply({"apiVersion": "ikegate/v1", "shunts": rules, "settings": {"puzzles": True}})
    assert "+ shunt a\n+ shunt b\n~ settings of the gateway\n" in applied.stdout
    lines = lone.ask("shunts").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["b", "drop", "5"], ["a", "pass", "100"]]
    assert lone.ask("apply", "-f", "-", "--prune", stdin=yaml.safe_dump(exported(lone) | {"shunts": []})).exit_code == 0
    assert lone.ask("shunts").stdout == "No shunts are configured.\n"


def test_lists_are_read_to_their_end(lone: Served) -> None:
    many = {
        "apiVersion": "ikegate/v1",
        "peers": [{"name": f"p{n:04}", "remote_addresses": ["192.0.2.9"]} for n in range(1100)],
    }
    assert lone.apply(many).exit_code == 0
    assert [peer["name"] for peer in lone.told("peers")] == [f"p{n:04}" for n in range(1100)]
    empty = lone.ask("apply", "-f", "-", "--prune", stdin=yaml.safe_dump(exported(lone) | {"peers": []}))
    assert empty.exit_code == 0
    assert "- peer p0000" in empty.stdout
    assert lone.ask("peers").stdout == "No peers are configured.\n"


def exported(gateway: Served) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(gateway.ask("export").stdout)
    return found


def test_what_a_document_opens_is_said(lone: Served) -> None:
    wanted = document("moon", "sun", 500)
    name = wanted["peers"][0]["remote_id"]
    profile = {"name": "web", "networks": ["192.0.2.1/32"], "groups": ["staff"]}
    people = {"access_profiles": [profile], "users": [{"name": "sun", "login": name, "groups": ["staff"]}]}
    assert lone.ask("apply", "-f", "-", stdin=yaml.safe_dump(wanted | people)).exit_code == 0
    alone = {"apiVersion": "ikegate/v1", "users": [{"name": "sun", "login": name}]}
    shown = lone.ask("diff", "-f", "-", stdin=yaml.safe_dump(alone))
    assert shown.exit_code == 2, shown.stderr
    assert f"Mind: {name} has no access profile any more (web until now), and reaches" in shown.stdout


def test_a_document_goes_in_and_comes_out(lone: Served) -> None:
    wanted = document("moon", "sun", 500)
    text = yaml.safe_dump(wanted)
    differs = lone.ask("diff", "-f", "-", stdin=text)
    assert differs.exit_code == 2
    assert differs.stdout.startswith("+ key key\n+ peer sun\n")
    tried = lone.ask("apply", "-f", "-", "--dry-run", stdin=text)
    assert (tried.exit_code, tried.stdout.splitlines()[-1]) == (0, "A dry run: nothing was stored.")
    assert lone.ask("diff", "-f", "-", stdin=text).exit_code == 2
    stored = lone.ask("apply", "-f", "-", "-m", "for the test", stdin=text)
    assert (stored.exit_code, "Stored as revision " in stored.stdout) == (0, True)
    same = lone.ask("diff", "-f", "-", stdin=text)
    assert (same.exit_code, same.stdout) == (0, "")
    assert "Nothing differs from revision" in lone.ask("apply", "-f", "-", stdin=text).stdout

    out = lone.ask("export")
    assert "secret" not in out.stdout
    assert lone.ask("diff", "-f", "-", "--prune", stdin=out.stdout).exit_code == 0
    assert json.loads(lone.ask("export", "--json").stdout) == yaml.safe_load(out.stdout)

    wanted["peers"][0]["dpd_delay"] = 77
    changed = lone.ask("diff", "-f", "-", stdin=yaml.safe_dump(wanted))
    assert changed.stdout.splitlines()[:2] == ["~ peer sun", "    /dpd_delay: 30.0 -> 77.0"]
    pruned = lone.ask("diff", "-f", "-", "--prune", stdin="apiVersion: ikegate/v1\n")
    assert pruned.exit_code == 2
    assert "- peer sun\n" in pruned.stdout


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("peers: [", "line 1"),
        ("apiVersion: other/v9\n", "  /apiVersion: "),
        ("apiVersion: ikegate/v1\npeers: [{name: 'No Good'}]\n", "  /peers/0/name: "),
        ("apiVersion: ikegate/v1\npeers: [{name: x, surprise: 1}]\n", "  /peers/0/surprise: "),
    ],
)
def test_a_bad_document_is_refused_with_its_places(lone: Served, text: str, why: str) -> None:
    for command in ("apply", "diff"):
        done = lone.ask(command, "-f", "-", stdin=text)
        assert (done.exit_code, done.stdout) == (1, "")
        assert why in done.stderr


def test_users_pools_and_leases_are_listed(lone: Served) -> None:
    empty = [
        "No users are configured.\n",
        "No access profiles are configured.\n",
        "No pools are configured.\n",
        "No address was given out yet.\n",
    ]
    assert [lone.ask(name).stdout for name in ("users", "access-profiles", "pools", "leases")] == empty
    pool = {"name": "people", "networks": ["10.9.0.0/24"], "dns": ["10.1.0.53"], "domains": ["corp.example"]}
    user = {"name": "anna", "login": "anna@example.com", "password": "her secret words", "groups": ["staff"]}
    profile = {"name": "web", "networks": ["10.1.0.80[tcp/443]"], "groups": ["staff"], "masquerade": True}
    document = {"apiVersion": "ikegate/v1", "pools": [pool], "users": [user | {"access_profile": "web"}]}
    assert lone.apply(document | {"access_profiles": [profile]}).exit_code == 0
    lines = lone.ask("users").stdout.splitlines()
    assert re.fullmatch(r"anna +anna@example\.com +yes +no end +staff +web *", lines[1]), lines
    assert "10.9.0.0/24" in lone.ask("pools").stdout
    assert re.search(
        r"^web +split, masqueraded +10\.1\.0\.80\[tcp/443\] +staff *$", lone.ask("access-profiles").stdout, re.MULTILINE
    )
    assert lone.told("users")[0]["password_set"] is True
    assert "secret words" not in lone.ask("users", "--json").stdout + lone.ask("export").stdout
