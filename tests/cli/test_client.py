"""The client commands, against real gateways over TLS: what they print, and how they end."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.cli.shown import duration, octets, safe
from gateway.crypto import authority, containers
from gateway.crypto.authority import Wanted
from gateway.crypto.signatures import PrivateKey
from tests.cli.served import FORCED, Served, ask, document, environment


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


# Who gets in, and to whom the token is shown.


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
