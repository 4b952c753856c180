"""Runs every benchmark: `python -m benchmarks [--quick]`; nothing is asserted, everything ends by itself."""

import argparse
import subprocess
import sys
import time

_PARTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], float], ...] = (
    ("primitives", (), ("x25519", "aes256gcm16", "prfsha256"), 60.0),
    ("codec", (), (), 60.0),
    ("engines", (), ("--quick",), 120.0),
    ("handshakes", (), ("--quick",), 180.0),
    ("signed", (), ("--quick",), 120.0),
    ("people", (), ("--quick",), 120.0),
    ("hybrid", (), ("--quick",), 120.0),
    ("rekeys", (), ("--quick",), 120.0),
    ("floods", (), ("--seconds", "2"), 120.0),
    ("fleet", (), ("--count", "500"), 300.0),
    ("fleet", ("--count", "1000", "--plane", "userspace"), ("--count", "200", "--plane", "userspace"), 120.0),
    ("configuration", (), ("--peers", "1000"), 300.0),
    ("esp", (), ("--rounds", "1", "--seconds", "2"), 90.0),
)
"""Module, its words, its words when in a hurry, and the seconds after which it is ended."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    quick = parser.parse_args().quick
    worst = 0
    for name, words, hurried, limit in _PARTS:
        print(f"\n== {name} ==", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{name}", *(hurried if quick else words)]
        try:
            worst = max(worst, subprocess.run(command, timeout=limit, check=False).returncode)
        except subprocess.TimeoutExpired:
            print(f"ended after {limit:g} s", file=sys.stderr)
            worst = 2
        print(f"-- {time.monotonic() - started:.0f} s", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
