"""The client commands, against real gateways over TLS: what they print, and how they end."""

import http.client
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.cli.shown import duration, octets, safe
from gateway.crypto import authority, containers
from gateway.crypto.authority import Wanted
from gateway.crypto.signatures import PrivateKey
from gateway.service.tls import ensure_certificate, server_context
from tests.cli.served import FORCED, Served, ask, document, environment

NOBODY = 65534
PASSWORD = "seven lamps on a wet pier"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """moon and sun, configured for a tunnel between them that nobody has begun."""
    with Served(tmp_path_factory.mktemp("moon")) as moon, Served(tmp_path_factory.mktemp("sun")) as sun:
        for here, there, names in ((moon, sun, ("moon", "sun")), (sun, moon, ("sun", "moon"))):
            assert here.apply(document(*names, there.nat_port)).exit_code == 0
        yield moon, sun


@pytest.fixture
def moon(pair: tuple[Served, Served]) -> Iterator[Served]:
    """moon, with its tunnel down at the beginning and at the end."""
    pair[0].ask("down", "sun")
    yield pair[0]
    pair[0].ask("down", "sun")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A gateway without peers, and the document that it began with."""
    with Served(tmp_path_factory.mktemp("lone")) as gateway:
        yield gateway, gateway.ask("export").stdout


@pytest.fixture
def lone(alone: tuple[Served, str]) -> Served:
    """A gateway on which nothing is configured."""
    gateway, seed = alone
    assert gateway.ask("apply", "-f", "-", "--prune", stdin=seed).exit_code == 0
    return gateway


def test_a_tunnel_from_up_to_down(moon: Served) -> None:
    up = moon.ask("up", "sun")
    assert (up.exit_code, up.stdout) == (0, "sun is up\n"), up.output
    line = moon.ask("status").stdout.splitlines()[-1]
    assert re.fullmatch(r"sun +up +\S+ s +127\.0\.0\.1(:\d+)? +1 of 1 up +hybrid +0 B +0 B", line), line
    detail = moon.ask("status", "sun").stdout
    assert re.search(r"^identities +moon\.example - sun\.example$", detail, re.MULTILINE)
    assert re.search(r"^networks +10\.1\.0\.0/24 - 10\.2\.0\.0/24$", detail, re.MULTILINE)
    assert re.search(r"^algorithms +aes256gcm16-prfsha384-x25519-ke1_mlkem768$", detail, re.MULTILINE)
    assert re.search(r"^key exchange +hybrid: X25519 and ML-KEM-768$", detail, re.MULTILINE)
    assert re.search(r"^keys +hybrid$", detail, re.MULTILINE)
    report = moon.ask("post-quantum").stdout.splitlines()
    assert re.fullmatch(r"sun +hybrid +([0-9.]+ s|[0-9]+ min( [0-9]+ s)?) +prefer +no", report[-1]), report
    assert moon.ask("post-quantum", "--breaks").stdout == "No peer would be refused.\n"

    before = moon.told("status", "sun")["ike_sas"][0]
    assert moon.ask("rekey", "sun", "net").stdout == "sun/net is rekeyed\n"
    after = moon.told("status", "sun")["ike_sas"][0]
    assert before["id"] == after["id"]
    assert before["children"][0]["spi_in"] not in [
        child["spi_in"] for child in after["children"] if child["state"] == "installed"
    ]
    assert moon.ask("rekey", "sun").stdout == "sun is rekeyed\n"
    assert moon.told("status", "sun")["ike_sas"][-1]["spi_i"] != before["spi_i"]

    nowhere = moon.ask("redirect", "sun", "192.0.2.9")  # it did not call us
    assert nowhere.exit_code == 1
    assert "did not call us" in nowhere.stderr
    down = moon.ask("down", "sun")
    assert (down.exit_code, down.stdout) == (0, "sun is down\n")
    assert moon.told("status", "sun")["state"] == "down"
    again = moon.ask("rekey", "sun")
    assert (again.exit_code, again.stderr) == (1, "sun is not up: there is nothing to rekey\n")


def test_up_without_waiting_only_begins_it(moon: Served) -> None:
    begun = moon.ask("up", "sun", "--wait", "0")
    assert begun.exit_code == 0
    assert "is being connected" in begun.stdout or "is up" in begun.stdout
    assert moon.ask("up", "sun", "net").stdout == "sun/net is up\n"


def test_a_failure_tells_why_and_what_to_do(pair: tuple[Served, Served], moon: Served) -> None:
    _, sun = pair
    wrong = document("moon", "sun", sun.nat_port, secret="not what the sun has")
    try:
        assert moon.apply(wrong).exit_code == 0
        failed = moon.ask("up", "sun")
        assert failed.exit_code == 1
        assert failed.stdout == ""
        assert failed.stderr.startswith("sun is not up: ")
        number = moon.told("attempts", "--peer", "sun")[0]["id"]
        shown = moon.ask("attempts", str(number))
        assert re.search(r"^outcome +failed$", shown.stdout, re.MULTILINE)
        assert re.search(r"^what to do +\S+", shown.stdout, re.MULTILINE)
        assert re.search(r"^HERE +prove who we are", shown.stdout, re.MULTILINE)
        assert "IKE_AUTH request 2" in shown.stdout
        assert json.loads(moon.ask("up", "sun", "--json").stdout)["attempt"]["outcome"] == "failed"
    finally:
        assert moon.apply(document("moon", "sun", sun.nat_port)).exit_code == 0


def test_algorithms_that_do_not_meet_are_laid_side_by_side(pair: tuple[Served, Served], moon: Served) -> None:
    _, sun = pair
    other = document("moon", "sun", sun.nat_port, ike_proposals=["odd"])
    other["proposals"] = [{"name": "odd", "protocol": "ike", "suites": ["aes128-sha256-ecp521"]}]
    try:
        assert moon.apply(other).exit_code == 0
        failed = moon.ask("up", "sun")
        assert failed.exit_code == 1
        theirs = sun.told("attempts")[0]
        shown = sun.ask("attempts", str(theirs["id"])).stdout
        assert "the peer offers:\n  aes128-sha256-prfsha256-ecp521" in shown
        assert "we accept:\n  aes256gcm16" in shown
        assert "they differ:\n" in shown
    finally:
        assert moon.apply(document("moon", "sun", sun.nat_port)).exit_code == 0


def test_who_is_not_there_is_told(moon: Served) -> None:
    for words in (
        ("up", "nobody"),
        ("status", "nobody"),
        ("down", "nobody"),
        ("up", "sun", "no-child"),
        ("attempts", "99999"),
    ):
        done = moon.ask(*words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: There is no ")
    assert moon.ask("up", "../peers").exit_code == 1


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


def test_events_of_the_past_and_of_now(lone: Served) -> None:
    lone.apply(document("moon", "sun", 500, description="one"))
    past = lone.ask("events", "--topics", "config")
    assert re.search(r"\d\d:\d\d:\d\d config\.changed +(Added|Changed) ", past.stdout)
    assert "admin." not in past.stdout
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "events",
        "--follow",
        "--json",
        "--topics",
        "config",
        "--limit",
        "1",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment({"IKEGATE_DATA": str(lone.data)})
    ) as follower:
        try:
            assert follower.stdout is not None
            first = json.loads(follower.stdout.readline())
            lone.apply(document("moon", "sun", 500, description=f"changed at {time.time()}"))
            second = json.loads(follower.stdout.readline())
            assert second["id"] > first["id"]
            assert (second["kind"], second["data"]["author"]) == ("config.changed", "token local-command")
        finally:
            follower.terminate()


def test_the_stream_ends_with_the_gateway(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        command = [sys.executable, "-m", "gateway.cli", "events", "--follow"]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment({"IKEGATE_DATA": str(gateway.data)}),
        ) as follower:
            assert follower.stdout is not None
            assert "local-command" in follower.stdout.readline()
            assert gateway.stop() == 0
            assert FORCED not in gateway.err
            _, complaint = follower.communicate(timeout=10)
            assert follower.returncode == 1
            assert complaint == "The gateway ended the stream: it stops, or the token does.\n"


def test_the_first_administrator(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        link = gateway.ask("setup-url").stdout.strip()
        assert link in gateway.out
        url, _, token = link.partition("/setup#token=")
        body = json.dumps({"token": token, "name": "root", "password": PASSWORD})
        context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
        connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=10)
        connection.request("POST", "/api/v1/setup", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 201
        connection.close()
        deadline = time.monotonic() + 20
        while (gateway.data / "setup-link").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        after = gateway.ask("setup-url")
        assert (after.exit_code, after.stdout) == (1, "")
        assert "has an administrator already" in after.stderr
        gateway.stop()
        gateway.start()
        assert "setup" not in gateway.out


# Who gets in, and to whom the token is shown.


def test_the_door_is_for_its_owner_alone(lone: Served) -> None:
    for name in ("cli-token", "setup-link"):
        assert stat.S_IMODE((lone.data / name).stat().st_mode) == 0o600
    if os.geteuid():
        pytest.skip("needs root to become somebody else")
    # Imported first: the checkout need not be readable for everybody.
    code = f"import os, gateway.cli.tunnels; os.setgroups([]); os.setuid({NOBODY}); gateway.cli.main()"
    env = environment({"IKEGATE_DATA": str(lone.data)})
    done = subprocess.run(
        [sys.executable, "-c", code, "status"], capture_output=True, text=True, env=env, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "Only the owner of" in done.stderr


def test_a_token_made_in_the_console_and_a_fingerprint_reach_a_gateway_elsewhere(lone: Served) -> None:
    url, token = lone.door["url"], lone.door["token"]
    printed = re.search(r"SHA-256 (\S+)", lone.out)
    assert printed
    there = {"IKEGATE_URL": url, "IKEGATE_TOKEN": token, "IKEGATE_DATA": "/nowhere"}
    assert ask("peers", **there, IKEGATE_FINGERPRINT=printed[1]).exit_code == 0
    assert ask("peers", **there, IKEGATE_FINGERPRINT=f"SHA-256 {printed[1].lower()}").exit_code == 0
    distrusted = ask("peers", **there)
    assert (distrusted.exit_code, "is not trusted" in distrusted.stderr) == (1, True)
    assert "IKEGATE_FINGERPRINT" in distrusted.stderr
    nonsense = ask("peers", **there, IKEGATE_FINGERPRINT="AB:CD")
    assert "is no SHA-256 fingerprint" in nonsense.stderr
    wrong = ask("peers", **{**there, "IKEGATE_TOKEN": "ikg_wrong"}, IKEGATE_FINGERPRINT=printed[1])
    assert (wrong.exit_code, "The token is not valid" in wrong.stderr) == (1, True)
    assert "set IKEGATE_TOKEN" in ask("peers", IKEGATE_URL="https://127.0.0.1:1", IKEGATE_DATA=str(lone.data)).stderr


def test_an_impostor_gets_no_token(lone: Served, tmp_path: Path) -> None:
    """Somebody else on the gateway's port: the command notices before it has said anything."""
    import datetime as dt
    import threading

    impostor = ensure_certificate(tmp_path, ["localhost"], ["127.0.0.1"], dt.datetime.now(dt.UTC))
    context = server_context(impostor.certificate, impostor.key)
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls:
                heard.append(tls.recv(4096))

        thread = threading.Thread(target=listen)
        thread.start()
        (tmp_path / "data" / "tls").mkdir(parents=True)
        door = {"url": f"https://127.0.0.1:{listener.getsockname()[1]}", "token": lone.door["token"]}
        (tmp_path / "data" / "cli-token").write_text(json.dumps(door))
        (tmp_path / "data" / "tls" / "certificate.pem").write_bytes(
            (lone.data / "tls" / "certificate.pem").read_bytes()
        )
        done = ask("status", IKEGATE_DATA=str(tmp_path / "data"))
        thread.join(10)
    assert heard == [b""]
    assert (done.exit_code, "shows another certificate" in done.stderr) == (1, True)


def test_nobody_at_home(tmp_path: Path) -> None:
    never = ask("status", IKEGATE_DATA=str(tmp_path))
    assert (never.exit_code, "No gateway has run with the data folder" in never.stderr) == (1, True)
    for command in ("health", "status"):
        gone = ask(command, IKEGATE_URL="https://127.0.0.1:1", IKEGATE_TOKEN="x", IKEGATE_DATA=str(tmp_path))
        assert (gone.exit_code, "No gateway listens at" in gone.stderr) == (1, True)
    plain = ask("status", IKEGATE_URL="http://127.0.0.1", IKEGATE_TOKEN="x", IKEGATE_DATA=str(tmp_path))
    assert "write https://name:port" in plain.stderr
    (tmp_path / "cli-token").write_text("{}")
    assert "is damaged" in ask("status", IKEGATE_DATA=str(tmp_path)).stderr


def test_a_certificate_from_issue_to_revoke(lone: Served) -> None:
    assert lone.ask("certificates").stdout == "No certificates are stored.\n"
    key = PrivateKey(ed25519.Ed25519PrivateKey.generate())
    root = authority.create_root(key, Wanted("Lab", life=1e8), time.time(), os.urandom)
    entry = {"name": "ca", "certificate": containers.pem(root), "private_key": containers.key_pem(key)}
    assert lone.apply({"apiVersion": "ikegate/v1", "authorities": [entry]}).exit_code == 0
    made = lone.ask("issue", "moon", "--authority", "ca", "--for", "moon.example", "--for", "192.0.2.1", "--days", "30")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("moon is issued: CN=moon.example, until ")
    (stored,) = lone.told("certificates")
    assert stored["chain"][0]["names"] == ["moon.example", "192.0.2.1"]
    listed = lone.ask("certificates").stdout.splitlines()
    assert listed[1].split()[:2] == ["moon", "CN=moon.example"]
    assert lone.ask("renew", "moon").stdout.startswith("moon is renewed, until ")
    assert lone.ask("revoke", "moon", "--reason", "superseded").stdout == "moon is revoked.\n"
    assert "revoked" in lone.ask("certificates").stdout.splitlines()[1]
    assert lone.ask("authorities").stdout.splitlines()[1].split()[:2] == ["ca", "CN=Lab"]
    refused = lone.ask("issue", "sun", "--authority", "none")
    assert (refused.exit_code, "There is no authority 'none'" in refused.stderr) == (1, True)


def test_health_needs_no_token(lone: Served) -> None:
    door = lone.data / "cli-token"
    hidden = door.rename(lone.data / "hidden")
    try:
        printed = re.search(r"SHA-256 (\S+)", lone.out)
        assert printed
        done = lone.ask("health", IKEGATE_URL=json.loads(hidden.read_text())["url"], IKEGATE_FINGERPRINT=printed[1])
    finally:
        hidden.rename(door)
    assert (done.exit_code, done.stdout) == (0, "ready\n")
    assert lone.told("health") == {"ok": True, "problems": []}


def test_help_names_every_command() -> None:
    shown = ask("--help").stdout
    commands = "serve demo status peers up down rekey attempts events apply diff export setup-url health decode".split()
    commands += ["redirect", "shunts", "blocks", "block", "unblock"]
    commands += "devices invites invite revoke-invite revoke-device".split()
    commands += "users access-profiles pools leases certificates authorities issue renew revoke".split()
    assert all(re.search(rf"^  {command} ", shown, re.MULTILINE) for command in commands)
    assert all(ask(command, "--help").exit_code == 0 for command in commands)
    assert ask("--version").stdout.startswith("ikegate, version ")
    assert ask("no-such-command").exit_code == 2


def test_what_is_shown_is_safe_and_readable() -> None:
    assert safe("a\x1b[2J\u202eb\n") == "a\\x1b[2J\\u202eb\\n"
    assert safe(None) == ""
    assert [octets(n) for n in (0, 999, 1000, 12_345_678, 5e15)] == ["0 B", "999 B", "1.0 kB", "12.3 MB", "5000.0 TB"]
    assert [duration(n) for n in (0, 0.25, 59, 61, 90_061)] == ["0 s", "0.2 s", "59 s", "1 min 1 s", "1 d 1 h"]


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
