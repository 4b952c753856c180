"""`ikegate serve` as a process: how it starts, what it says when something is missing, and how it ends."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.cli.served import FORCED, Served, ask, document, environment


def failed_start(tmp_path: Path, *words: str, **settings: str) -> tuple[int, str]:
    """Start a gateway that cannot start: its exit status and what it complained of."""
    given = {"IKEGATE_DATA": str(tmp_path / "data"), "IKEGATE_PLANE": "memory", "IKEGATE_WEB_PORT": "0", **settings}
    command = [sys.executable, "-m", "gateway.cli", "serve", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(given), cwd=tmp_path, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def answer(gateway: Served, path: str) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
    connection = http.client.HTTPSConnection(gateway.door["url"].removeprefix("https://"), context=context, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {gateway.door['token']}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_introduces_itself_and_ends_when_told(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        for line in (
            "  data plane  memory",
            "  IKE         udp ",
            "  console     https://127.0.0.1:",
            "  setup       https://",
        ):
            assert line in gateway.out
        assert "PROBLEM" not in gateway.out
        assert answer(gateway, "/readyz")[0] == 200
        assert answer(gateway, "/api/v1/status")[0] == 200
        assert gateway.stop() == 0
        assert FORCED not in gateway.err
        assert gateway.err.splitlines()[-1].endswith("INFO stopped")
        assert not (gateway.data / "setup-link").exists(), "a link that no longer works"


def test_it_speaks_tls_1_3_only(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        host, port = gateway.door["url"].removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname=host)
        context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            assert tls.version() == "TLSv1.3"


@pytest.mark.parametrize(("number", "deaf"), [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, True)])
def test_an_open_stream_does_not_hold_up_the_end(number: signal.Signals, deaf: bool, tmp_path: Path) -> None:
    """Nor does one whose reader has stopped reading, and would never answer the farewell of TLS."""
    with Served(tmp_path) as gateway:
        context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
        url, token = gateway.door["url"], gateway.door["token"]
        connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=20)
        connection.request("GET", "/api/v1/events", headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        assert response.readline() == b": ikegate\n"
        reader = threading.Thread(target=response.read)  # to the end that the gateway makes
        if not deaf:
            reader.start()
        assert gateway.stop(number) == 0
        if not deaf:
            reader.join(10)
        response.close()
        connection.close()
        assert FORCED not in gateway.err


def test_a_second_signal_cuts_off_the_answer_under_way_and_nothing_else(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        context = ssl.create_default_context(cafile=str(gateway.data / "tls" / "certificate.pem"))
        host, port = gateway.door["url"].removeprefix("https://").split(":")
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            # An answer that stays under way: the body does not come.
            lines = [
                "PUT /api/v1/peers/sun HTTP/1.1",
                f"host: {host}",
                f"authorization: Bearer {gateway.door['token']}",
            ]
            lines += ["content-type: application/json", "content-length: 9", "expect: 100-continue"]
            tls.sendall("\r\n".join([*lines, "", ""]).encode())
            assert tls.recv(64).startswith(b"HTTP/1.1 100")
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGTERM)
            while not closed(host, int(port)):
                time.sleep(0.02)
            assert gateway.stop() == 0
        assert gateway.err.count("Traceback (") == 1
        assert "lifespan" not in gateway.err


def closed(host: str, port: int) -> bool:
    """Whether nobody listens there any more."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 10):
        return False
    return True


def test_a_stop_takes_its_tunnels_down_on_both_ends(tmp_path: Path) -> None:
    for name in ("moon", "sun"):
        (tmp_path / name).mkdir()
    with Served(tmp_path / "moon") as moon, Served(tmp_path / "sun") as sun:
        for here, there, names in ((moon, sun, ("moon", "sun")), (sun, moon, ("sun", "moon"))):
            assert here.apply(document(*names, there.nat_port)).exit_code == 0
        assert moon.ask("up", "sun").exit_code == 0
        assert sun.told("status")["peers"][0]["state"] == "up"
        moon.stop()
        status = sun.told("status")
        assert status["ike_sas"] == []
        assert status["peers"][0]["state"] != "up"


def test_the_data_folder_is_its_owners(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        found = [gateway.data, *gateway.data.rglob("*")]
        assert len(found) > 6
        assert {
            path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in found if path.stat().st_mode & 0o077
        } == {}


def test_a_document_is_laid_over_the_configuration_at_start(tmp_path: Path) -> None:
    path = tmp_path / "ikegate.yaml"
    path.write_text(yaml.safe_dump(document("moon", "sun", 500)))
    with Served(tmp_path, "--config", str(path)) as gateway:
        assert [peer["name"] for peer in gateway.told("status")["peers"]] == ["sun"]
        revision = gateway.told("status")["revision"]
        gateway.stop()
        gateway.start()
        assert gateway.told("status")["revision"] == revision, "the same document makes no new revision"
        assert "--config: nothing differed" in gateway.err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("peers: [", "ikegate.yaml is not valid:\n  /: "),
        ("apiVersion: ikegate/v1\npeers: [{name: x, surprise: 1}]\n", "/peers/0/surprise"),
    ],
)
def test_a_bad_document_stops_the_start(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "ikegate.yaml"
    path.write_text(text)
    status, complaint = failed_start(tmp_path, "--config", str(path))
    assert (status, why in complaint) == (1, True), complaint


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("IKEGATE_PLANE", "magic", "use auto, kernel, userspace or memory"),
        ("IKEGATE_IKE_PORT", "99999", "a port is a number"),
        ("IKEGATE_CRASH_TOKENS", "maybe", "use on or off"),
        ("IKEGATE_LOG_LEVEL", "shout", "use debug, info, warning, error"),
        ("IKEGATE_WEB_HOST", "192.0.2.77", "IKEGATE_WEB_HOST names the address"),
        ("IKEGATE_KEK_FILE", "/no/such/file", "/no/such/file"),
    ],
)
def test_a_setting_without_sense_stops_the_start(name: str, value: str, why: str, tmp_path: Path) -> None:
    status, complaint = failed_start(tmp_path, **{name: value})
    assert (status, why in complaint) == (1, True), complaint


def test_a_taken_web_port_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        status, complaint = failed_start(tmp_path, IKEGATE_WEB_HOST="127.0.0.1", IKEGATE_WEB_PORT=port)
    assert (status, f"TCP port {port} is taken" in complaint) == (1, True)
    assert not (tmp_path / "data").exists()


def test_a_second_process_on_the_same_data_does_not_start(tmp_path: Path) -> None:
    with Served(tmp_path) as gateway:
        token = (gateway.data / "cli-token").read_text()
        status, complaint = failed_start(tmp_path)
        assert (status, "is in use by another ikegate process" in complaint) == (1, True)
        assert (gateway.data / "cli-token").read_text() == token
        assert gateway.ask("status").exit_code == 0


def test_with_its_port_taken_it_serves_the_console_and_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", 0))
        port = str(holder.getsockname()[1])
        with Served(tmp_path, IKEGATE_IKE_PORT=port) as gateway:
            assert f"PROBLEM     IKE does not run: UDP port {port} is taken by another process" in gateway.out
            assert "IKE         not listening" in gateway.out
            assert answer(gateway, "/login")[0] in (200, 303)
            status, body = answer(gateway, "/readyz")
            assert (status, json.loads(body)["ok"]) == (503, False)
            health = gateway.ask("health")
            assert (health.exit_code, health.stdout.splitlines()[0]) == (1, "not ready")
            assert f"PROBLEM: IKE does not run: UDP port {port}" in gateway.ask("status").stdout
            assert gateway.apply(document("moon", "sun", 500)).exit_code == 0
            up = gateway.ask("up", "sun", "--wait", "1")
            assert up.exit_code == 1
            assert gateway.stop() == 0


@pytest.mark.requires("root", "setpriv")
def test_without_privileges_it_serves_the_console_and_says_what_is_missing(tmp_path: Path) -> None:
    if Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() != "1024":
        pytest.skip("on this machine anybody may bind port 500")
    settings = {"IKEGATE_IKE_PORT": "500", "IKEGATE_NAT_PORT": "4500", "IKEGATE_PLANE": "auto"}
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]  # root in name only
    with Served(tmp_path, before=powerless, **settings) as gateway:
        assert "PROBLEM     There is no data plane, so no tunnel can carry anything: " in gateway.out
        assert "data plane  none: no packet can be protected" in gateway.out
        assert "PROBLEM     IKE does not run: UDP port 500 needs a privilege" in gateway.out
        assert answer(gateway, "/api/v1/system")[0] == 200
        assert gateway.ask("health").exit_code == 1
        assert gateway.stop() == 0


def test_systemd_hears_of_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"\0ikegate-test-{os.getpid()}"
        manager.bind(address)
        manager.settimeout(30)
        settings = {"NOTIFY_SOCKET": "@" + address[1:], "WATCHDOG_USEC": "200000"}
        with Served(tmp_path, **settings) as gateway:
            heard = {manager.recv(100) for _ in range(6)}
            assert heard == {b"READY=1", b"WATCHDOG=1"}
            gateway.stop()
            rest = []
            while b"STOPPING=1" not in rest:
                rest.append(manager.recv(100))


def test_the_key_log_is_loud_and_decodes_the_tunnel(tmp_path: Path) -> None:
    for name in ("moon", "sun", "keys"):
        (tmp_path / name).mkdir()
    log = tmp_path / "keys" / "log"
    with Served(tmp_path / "moon", IKEGATE_KEY_LOG=str(log)) as moon, Served(tmp_path / "sun") as sun:
        assert "PROBLEM     THE KEY LOG IS ON" in moon.out
        for here, there, names in ((moon, sun, ("moon", "sun")), (sun, moon, ("sun", "moon"))):
            assert here.apply(document(*names, there.nat_port)).exit_code == 0
        assert moon.ask("up", "sun").exit_code == 0
        spi_i = moon.told("status", "sun")["ike_sas"][0]["spi_i"]
    assert f"\n{spi_i}," in (log / "ikev2_decryption_table").read_text()
    assert (log / "profiles" / "intermediate-1" / "ikev2_decryption_table").read_text().startswith(f"{spi_i},")
    assert (log / "esp_sa").read_text().count("\n") == 2
    assert ask("decode", str(log / "esp_sa")).exit_code == 1  # no capture: a sentence
