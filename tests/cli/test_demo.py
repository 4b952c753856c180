"""`ikegate demo`: the tunnel comes up, pings go through it, and nothing of it is left behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gateway.cli.demo import interruptible
from gateway.cli.demo_network import ip
from tests.cli.served import environment
from tests.lab.in_kernel import in_kernel
from tests.lab.userspace import missing

COMMAND = [sys.executable, "-m", "gateway.cli", "demo"]
needs_network = pytest.mark.requires("root", "netns")


def can_carry_esp() -> None:
    if missing("tun") and missing("esp"):
        pytest.skip(f"neither data plane works: {missing('tun')}; {missing('esp')}")


def leftovers() -> list[str]:
    """Namespaces, devices, files and processes of any demo."""
    namespaces = os.listdir("/run/netns") if Path("/run/netns").is_dir() else []
    files = [path.name for path in Path(tempfile.gettempdir()).glob("ikegate-demo-*")]
    processes = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"gateway.cli\0serve\0" in content(path) and b"ikegate-demo-" in content(path)
    ]
    devices = [name for name in os.listdir("/sys/class/net") if name.startswith("ikd")]
    return [name for name in (*namespaces, *devices) if name.startswith("ik") and "ikg" not in name] + files + processes


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has just ended


def run(*words: str, seconds: int = 5, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--seconds", str(seconds), *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment({}), check=False, timeout=timeout, cwd="/"
    )


def check(done: subprocess.CompletedProcess[str], pings: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Setting up the tunnel … up after [\d.]+ s: aes256gcm16-", done.stdout)
    lines = [line for line in done.stdout.splitlines() if " ping " in line]
    answered = [line for line in lines if "answered in" in line]
    assert len(answered) >= pings
    counts = [int(found[1]) for line in lines if (found := re.search(r"tunnel: (\d+) packets", line))]
    assert counts == sorted(counts)
    assert counts[-1] >= pings - 1, "the counters move with the pings"
    assert re.search(r"(\d+) packets \S+ \S+ in, 0 rekeys$", lines[-1])
    assert leftovers() == []


@needs_network
def test_two_gateways() -> None:
    can_carry_esp()
    done = run(seconds=5)
    check(done, 3)
    assert (
        len(re.findall(r"^  console: https://10\.254\.\d+\.\d+:8443/setup#token=\S{40,}$", done.stdout, re.MULTILINE))
        == 2
    )


@needs_network
@pytest.mark.requires("charon", "swanctl")
@pytest.mark.interop
def test_a_gateway_and_strongswan() -> None:
    can_carry_esp()
    done = run("--strongswan", seconds=4)
    check(done, 2)
    assert "branch: strongSwan, 192.0.2.2" in done.stdout


@needs_network
@pytest.mark.parametrize(("number", "early"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGINT, False)])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals, early: bool) -> None:
    """Interrupted as soon as there is something to remove, or once the first ping was answered."""
    can_carry_esp()
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment({})
    ) as demo:
        assert demo.stdout is not None
        while early and not leftovers():
            assert demo.poll() is None, "it ended by itself"
            time.sleep(0.02)
        while not early and "answered in" not in (line := demo.stdout.readline()):
            assert line, "it ended by itself"
        assert leftovers()
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=40)
    assert demo.returncode == 0, rest
    assert "The demo is ended." in rest
    assert leftovers() == []


@needs_network
def test_what_a_killed_demo_left_is_removed_by_the_next() -> None:
    can_carry_esp()
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment({})
    ) as demo:
        assert demo.stdout is not None
        while "console:" not in (line := demo.stdout.readline()):
            assert line, "it ended by itself"
        demo.kill()
    deadline = time.monotonic() + 20
    while any(name.isdecimal() for name in leftovers()):
        assert time.monotonic() < deadline, "the gateways of a killed demo live on"
        time.sleep(0.1)
    assert leftovers() != []
    check(run(seconds=2), 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_is_done_first(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it may make what the demo, which tidies up by then, has looked for already."""
    command, made = tmp_path / "ip", tmp_path / "made"
    command.write_text(f"#!/bin/sh\nkill -{int(number)} {os.getpid()}\nsleep 0.7\n: >{made}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(KeyboardInterrupt), interruptible():
        ip("netns", "add", "ikegate-demo-1-branch")
    assert made.exists()


@needs_network
def test_a_demo_that_fails_says_why_and_leaves_nothing() -> None:
    if not missing("esp"):
        pytest.skip("the kernel has ESP: this needs one without")
    done = run("--plane", "kernel", seconds=2)
    assert done.returncode == 1
    assert "There is no data plane, so no tunnel can carry anything: the kernel cannot carry ESP" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers() == []


def test_without_root_it_says_so() -> None:
    if not os.geteuid():
        code = "import os, gateway.cli.demo; os.setgroups([]); os.setuid(65534); gateway.cli.main(['demo'])"
        command = [sys.executable, "-c", code]
    else:
        command = COMMAND
    done = subprocess.run(command, capture_output=True, text=True, env=environment({}), check=False, timeout=60)
    assert (done.returncode, "run it as root" in done.stderr) == (1, True)


@in_kernel
@pytest.mark.requires("root", "netns", "esp")
@pytest.mark.timeout(300)
def test_in_a_kernel_with_esp() -> None:
    done = run(seconds=4, timeout=250)
    check(done, 2)
    assert done.stdout.count("kernel: ESP by XFRM of Linux") == 2
