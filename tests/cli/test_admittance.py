"""Who may use the command, and which gateway it believes."""

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
from pathlib import Path

import pytest

from gateway.service.tls import ensure_certificate, server_context
from tests.cli.served import Served, ask, environment

NOBODY = 65534
PASSWORD = "seven lamps on a wet pier"


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
