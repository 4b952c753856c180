"""The guest kernel: what goes in and comes out, what it cannot touch, and strongSwan on its ESP."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.lab.appliance import until
from tests.lab.in_kernel import in_kernel
from tests.lab.kernel import GuestDiedError, inside_kernel, run_in_kernel
from tests.lab.namespaces import Namespace, Network, two_sites
from tests.lab.test_lab import tunnel_carries_a_ping

REPOSITORY = Path(__file__).parents[2]


def guest(script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return run_in_kernel(["sh", "-c", script], timeout=timeout)


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_output_status_and_environment_come_back() -> None:
    done = guest("echo out; echo err >&2; echo $IKEGATE_IN_KERNEL $TMPDIR; id -u; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n1 /run\n0\n", "err\n")


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_the_guest_writes_only_where_it_may(tmp_path: Path) -> None:
    open_folder, closed_folder = tmp_path / "open", tmp_path / "closed"
    open_folder.mkdir()
    closed_folder.mkdir()
    script = (
        f"echo a >{open_folder}/a && echo b >{closed_folder}/b && cat {closed_folder}/b && rm -r {REPOSITORY}/tests"
    )
    done = run_in_kernel(["sh", "-c", script], writable=[open_folder], timeout=60)
    assert (done.returncode, done.stdout) == (0, "b\n")
    assert (open_folder / "a").read_text() == "a\n"
    assert list(closed_folder.iterdir()) == []
    assert (REPOSITORY / "tests").is_dir()


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_a_command_that_takes_too_long_is_ended_and_its_output_kept() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        guest("echo so far; sleep 100 & sleep 100", timeout=3)
    assert caught.value.output == "so far\n"


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_a_kernel_that_panics_is_an_error_with_its_console() -> None:
    with pytest.raises(GuestDiedError, match=r"(?s)sysrq.*before the end"):
        guest("echo before the end; echo c >/proc/sysrq-trigger; sleep 10")


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_killing_the_tests_kills_the_guest() -> None:
    code = "from tests.lab.kernel import run_in_kernel; run_in_kernel(['sleep', '4242'], timeout=60)"
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    guests = until(lambda: _guests_of(runner.pid), "a guest runs", seconds=40)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    until(lambda: not any(map(_alive, guests)), "it is gone", seconds=20)


def _guests_of(ancestor: int) -> list[int]:
    """The User-Mode-Linux processes below a process."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(status.parent.name)] = int(fields[1])

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == ancestor:
                return True
        return False

    return [pid for pid in parents if below(pid) and b"rootfstype=hostfs" in _words(pid)]


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _alive(pid: int) -> bool:
    return b"rootfstype=hostfs" in _words(pid)


@in_kernel
def test_marked_tests_run_inside() -> None:
    assert inside_kernel()
    assert os.getpid() < 1000
    assert "uml" in Path("/proc/cpuinfo").read_text().lower()


@in_kernel
@pytest.mark.parametrize("text", ["plain", "a/b [c] ::d", "ü"])
def test_parameters_and_fixtures_work_inside(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    assert str(tmp_path).startswith("/run/")


@in_kernel
@pytest.mark.requires("root", "netns", "charon", "ping", "esp")
def test_strongswan_speaks_to_strongswan_with_kernel_esp(network: Network, tmp_path: Path) -> None:
    left, right = two_sites(network)
    tunnel_carries_a_ping(left, right, tmp_path, "kernel-netlink")
    assert right.run("ip", "xfrm", "state").stdout == ""


@in_kernel
@pytest.mark.requires("root", "netns", "tc", "netem")
def test_netem_delays(network: Network) -> None:
    left, _ = two_sites(network)
    left.netem("to-right", "delay", "300ms")
    assert _ping_seconds(left) >= 0.3
    left.netem("to-right")
    assert _ping_seconds(left) < 0.3


def _ping_seconds(site: Namespace) -> float:
    """The shortest of several ways, which no other load of this machine makes longer."""
    out = site.run("ping", "-c5", "-i0.2", "192.0.2.2").stdout
    return min(map(float, re.findall(r"time=([0-9.]+)", out))) / 1000


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_each_result_inside_is_reported_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(
        textwrap.dedent("""
            import os, pytest
            from tests.lab.in_kernel import in_kernel

            @pytest.fixture(scope="module", autouse=True)
            def module():
                yield
                print("the module is torn down")

            def test_before(): assert "IKEGATE_IN_KERNEL" not in os.environ

            @in_kernel
            def test_good(): pass

            @in_kernel
            def test_bad(): assert "left" == "right"

            @in_kernel
            def test_skipped(): pytest.skip("not today")

            @in_kernel
            @pytest.mark.xfail(strict=True)
            def test_expected(): assert False

            @pytest.fixture
            def broken(): raise OSError("no fixture")

            @in_kernel
            def test_error(broken): pass

            @in_kernel
            def test_slow():
                import time
                time.sleep(60)
            test_slow = pytest.mark.timeout(2)(test_slow)
        """)
    )
    (tmp_path / "test_later.py").write_text("def test_outside(): pass\n")
    (tmp_path / "conftest.py").write_text("from tests.lab.in_kernel import *\n")
    done = _pytest(tmp_path)
    assert "2 failed, 3 passed, 1 skipped, 1 xfailed, 1 error" in done.stdout, done.stdout
    for expected in ("assert 'left' == 'right'", "not today", "no fixture", "Timeout"):
        assert expected in done.stdout


@pytest.mark.kernel
@pytest.mark.requires("guest")
def test_a_test_that_kills_the_kernel_fails_and_those_before_it_count(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(
        textwrap.dedent("""
            from pathlib import Path
            from tests.lab.in_kernel import in_kernel

            @in_kernel
            def test_first(): pass

            @in_kernel
            def test_panic():
                Path("/proc/sysrq-trigger").write_text("c")
        """)
    )
    (tmp_path / "conftest.py").write_text("from tests.lab.in_kernel import *\n")
    done = _pytest(tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "the guest kernel died" in done.stdout


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over a folder, on this machine."""
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), f"--rootdir={folder}"]
    options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "-ra", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, check=False, timeout=110, env=environment
    )
