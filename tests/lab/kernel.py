"""Runs a command inside a throw-away User-Mode-Linux kernel that has ESP, over this machine's own files.

The guest sees the whole file system at the same paths under a scratch layer: it may write anywhere, and nothing it
writes survives or touches the machine, except below the folders given as `writable`. It has no network but what the
command makes. `install-packages` builds the guest's kernel from Debian's source. Without it Debian's `user-mode-linux`
(6.1) serves, which is enough for ESP itself; it lacks XFRM interfaces, nftables' ip, ip6 and inet families, and ESP in
TCP. The environment variable UML_KERNEL names another one.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

IN_KERNEL = "IKEGATE_IN_KERNEL"
BUILT = Path(__file__).parents[2] / ".venv" / "lab" / "linux"
"""Where `install-packages` puts the kernel that it builds."""

# The UML processes get a PID namespace (one kill takes them all; a shell and not UML is its PID 1, else a panic's
# abort() is ignored there and hangs) and a mount namespace where the machine's root is read-only but for what the run
# may write to. Guest memory is a file of its own tmpfs: a container's /dev/shm is often too small for it.
_LAUNCH = """
    folder=$1 memory=$2 kernel=$3; shift 3
    for writable in "$folder" "$@"; do mount --bind "$writable" "$writable"; done
    mount -o remount,bind,ro / || exit
    mount -t tmpfs -o size="$memory" memory "$folder/memory" || exit
    export TMPDIR="$folder/memory" HOME="$folder"
    "$kernel" mem="$memory" uml_dir="$folder/" umid=uml rootfstype=hostfs rootflags=/ ro init="$folder/init" \
        con=null con0=null,fd:1 ssl=null console=tty0 fb_tunnels=none panic=-1 quiet loglevel=4
    exit 0
"""


class GuestDiedError(Exception):
    """The guest kernel did not boot, or went down before the command ended; the text is the end of its console."""


def kernel_path() -> Path | None:
    """The User-Mode-Linux binary to use: UML_KERNEL, else the one that was built, else Debian's."""
    found = os.environ.get("UML_KERNEL") or (str(BUILT) if BUILT.exists() else "")
    found = found or shutil.which("linux.uml", path=f"{os.environ.get('PATH', '')}:/usr/bin") or ""
    return Path(found).resolve() if found and os.access(found, os.X_OK) else None


@functools.cache
def kernel_available() -> str:
    """Why no guest kernel can run here, or "" when one can."""
    if kernel_path() is None:
        return "no User-Mode-Linux kernel (tests/lab/install-packages builds one)"
    if os.geteuid():
        return "a guest kernel needs root, to keep this machine's files read-only under it"
    probe = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "true"], capture_output=True, text=True, check=False
    )
    return f"no PID and mount namespaces here: {probe.stderr.strip()}" if probe.returncode else ""


def inside_kernel() -> bool:
    """Whether this process runs in a guest."""
    return bool(os.environ.get(IN_KERNEL))


def run_in_kernel(
    command: Sequence[str],
    *,
    timeout: float = 300.0,
    memory: str = "1G",
    writable: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command` as root in a guest, for at most `timeout` seconds, and answer its status, stdout and stderr.

    The environment is this process's with `env` added, TMPDIR=/run (sockets do not belong on the scratch layer) and
    IKEGATE_IN_KERNEL=1. Raises `subprocess.TimeoutExpired`, with what was printed, and `GuestDiedError`.
    """
    kernel = kernel_path()
    if kernel is None:
        raise GuestDiedError(kernel_available())
    with tempfile.TemporaryDirectory(prefix="uml-") as name:
        folder = Path(name)
        folders = [str(path.resolve()) for path in writable]
        order = {
            "command": list(command),
            "cwd": str(cwd or Path.cwd()),
            "env": {**os.environ, "TMPDIR": "/run", IN_KERNEL: "1", **(env or {})},
            "timeout": timeout,
            "writable": folders,
        }
        _prepare(folder, order)
        _boot(folder, memory, kernel, folders, timeout + 60)
        return _result(folder, command, timeout)


def _prepare(folder: Path, order: Mapping[str, object]) -> None:
    init = folder / "init"
    source = Path(__file__).with_name("guest.py").read_text()
    init.write_text(f"#!{os.path.realpath(sys.executable)} -ISB\n{source}")
    init.chmod(0o700)
    (folder / "order.json").write_text(json.dumps(order))
    (folder / "memory").mkdir()


def _boot(folder: Path, memory: str, kernel: Path, writable: Sequence[str], timeout: float) -> None:
    """Boot the guest and wait until it is down; all of it dies with this process, or after `timeout` seconds."""
    words = (
        "setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc --propagation private sh -c".split()
    )
    with (folder / "console").open("wb") as console:
        guest = subprocess.Popen(
            [*words, _LAUNCH, "uml", str(folder), memory, str(kernel), *writable],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )  # fmt: skip
        try:
            guest.wait(timeout)
        except subprocess.TimeoutExpired:
            pass  # no status file: _result tells
        finally:
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
                guest.wait()


def _result(folder: Path, command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    def text(name: str) -> str:
        path = folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    stdout, stderr, status = text("stdout"), text("stderr"), text("status")
    if not status:
        tail = "\n".join(text("console").splitlines()[-25:])
        raise GuestDiedError(f"the guest kernel died; the end of its console:\n{tail}\n{stdout}{stderr}")
    if int(status) == 124:
        raise subprocess.TimeoutExpired(list(command), timeout, stdout, stderr)
    return subprocess.CompletedProcess(list(command), int(status), stdout, stderr)
