"""Many tunnels established, rekeyed and deleted, by data plane and beside charon: time, CPU, memory, and loop lag.

`python -m benchmarks.fleet [--count N] [--plane memory|userspace|kernel] [--guest]` as root. Our initiator, with a data
plane in memory, does all of it with each responder in turn. On a machine without ESP in its kernel `--guest` measures
the kernel's data plane in a User-Mode-Linux guest, where a system call costs a hundred times as much: there only the
ratio to charon means something. Nothing is asserted.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.end import CLIENTS
from benchmarks.targets import AT_ONCE, Kind, Target, charons, cpu_seconds, memory, ours
from gateway.ike.children import LINGER
from tests.lab.charon import CharonError
from tests.lab.kernel import inside_kernel, run_in_kernel
from tests.lab.namespaces import CommandFailedError
from tests.lab.userspace import first_missing, missing

COUNT = 10_000
_CHUNK = 500
_AFTERWARDS = LINGER + 1
"""Seconds until what a rekey replaced is gone: its CPU time is the rekey's."""
_PLUGINS = {"userspace": "kernel-libipsec kernel-netlink", "kernel": "kernel-netlink"}
_NEEDS = {"userspace": ("tun",), "kernel": ("esp",)}
_PHASES = (
    ("established", "connect", "child-sa.installed"),
    ("CHILD_SAs rekeyed", "rekey", "child-sa.rekeyed"),
    ("IKE SAs rekeyed", "rekey", "ike-sa.rekeyed"),
    ("deleted", "delete", ""),
)
"""What is done to all tunnels, in this order: its name, the command, and the event that each ends with."""


def go_through(name: str, target: Target, count: int) -> None:
    """Print a line for each phase."""
    target.lag()
    target.settle()
    empty, _ = memory(target.pid)
    for what, command, end in _PHASES:
        lags = target.lag()[:0]
        began, cpu = time.perf_counter(), cpu_seconds(target.pid)
        for first in range(0, count, _CHUNK):
            number = min(_CHUNK, count - first)
            answer = target.initiator.ask(command, first, number, AT_ONCE, *([end] if end else []))
            if answer["ended"] != number:
                raise CommandFailedError(f"{name}: {answer['ended']} of {number} were {what}")
            lags += target.lag()
        seconds = time.perf_counter() - began
        time.sleep(_AFTERWARDS if command == "rekey" else 0)
        cpu = cpu_seconds(target.pid) - cpu
        target.settle()
        resident = (memory(target.pid)[0] - empty) / count / 1024
        line = f"  {name:10} {what:18} {seconds:6.1f} s   {count / cpu:6.0f} a CPU-second   {resident:5.1f} KiB each"
        if lags:
            lags.sort()
            line += f"   loop lag p99 {1000 * lags[len(lags) * 99 // 100]:.0f} ms, at most {1000 * lags[-1]:.0f} ms"
        print(line, flush=True)


def measure(plane: str, count: int) -> int:
    if absent := first_missing("root", "netns", *_NEEDS.get(plane, ())):
        print(f"cannot measure over the data plane {plane}: {absent}", file=sys.stderr)
        return 2
    print(f"{count:,} tunnels; the data plane of who is called: {plane}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with ours(count, folder, plane=plane) as target:
            go_through("ikegate", target, count)
        if plane != "memory" and not missing("charon"):
            (folder / "peer").mkdir()
            with charons(count, folder / "peer", "charon", CLIENTS, Kind(plugins=_PLUGINS[plane])) as target:
                go_through("charon", target, count)
    return 0


def in_guest(count: int) -> int:
    command = [sys.executable, "-m", "benchmarks.fleet", "--count", str(count), "--plane", "kernel"]
    done = run_in_kernel(command, timeout=1500, memory="2G")
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--plane", choices=("memory", *_PLUGINS), default="memory")
    parser.add_argument("--guest", action="store_true", help="in a guest kernel, over its data plane")
    options = parser.parse_args(words)
    with contextlib.suppress(BrokenPipeError):
        try:
            if options.guest and not inside_kernel():
                return in_guest(options.count)
            return measure(options.plane, options.count)
        except (CommandFailedError, CharonError, subprocess.TimeoutExpired) as failure:
            print(f"cannot measure: {failure}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
