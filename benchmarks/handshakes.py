"""IKE handshakes a CPU-second, memory an SA and time to a tunnel, beside strongSwan's charon in one run.

`python -m benchmarks.handshakes [--quick]` as root. Two network namespaces a target; our initiator calls each responder
with ever new identities (pre-shared key, X25519, AES-256-GCM), in alternating rounds. CPU time is the kernel's account
of the whole process, user and system. Nothing is asserted.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.end import CLIENTS, NETS
from benchmarks.targets import INNER, USUAL, WHOLE, Target, charons, middle, ours, start_charon
from tests.lab.charon import CharonError
from tests.lab.namespaces import CommandFailedError, Network, run, two_sites
from tests.lab.userspace import first_missing, missing

LATENCIES = 15
FEW = 1000  # up to so many SAs kernel-libipsec's lists cost charon little
_ALONE = "charon, its IKE SA alone"
_CAVEATS = """charon: {version}, dos_protection = no, ikesa_table_size = 4096, ikesa_table_segments = 16, no log, no
routes; its ESP is in userspace (kernel-libipsec), whose lists are searched one by one; ours is a data plane in
memory. Its IKE SA alone: it refuses every CHILD_SA (TS_UNACCEPTABLE), so that this is less than a handshake's work."""


def charon_latency(count: int, folder: Path) -> list[float]:
    """Seconds of VICI's `initiate` between two charons."""
    took = []
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        for ns, name, side, remote in (
            (right, "right", ("192.0.2.2", "%any", "gw.example", "*.example"), INNER),
            (left, "left", ("192.0.2.1", "192.0.2.2", "c0.example", "gw.example"), NETS),
        ):
            charon = start_charon(ns, folder / name, side, remote, USUAL)
            stack.callback(charon.stop)
        for _ in range(count):
            started = time.perf_counter()
            charon.initiate("net")
            took.append(time.perf_counter() - started)
            charon.terminate("lab")
    return took


def steps(most: int) -> list[int]:
    """The sizes of the rounds: a few to warm up, then up to ten rounds to 1,000 and ten further ones to the end."""
    small = [10, *[(min(most, FEW) - 10) // 10] * 10]
    small[-1] += min(most, FEW) - sum(small)
    return small + [(most - FEW) // 10] * 10 if most > FEW else small


def grow(targets: list[Target], most: int) -> None:
    """Establish up to `most` SAs with each target, in alternating rounds, noting CPU time and memory."""
    for target in targets:
        target.note_memory()
    for number, count in enumerate(steps(most)):
        for target in targets if number % 2 == 0 else targets[::-1]:
            target.call(count)
            if target.established in (FEW, most):
                target.note_memory()


def print_speed(targets: list[Target]) -> None:
    mine = targets[0]
    print("\nresponder: handshakes a CPU-second, median (lowest-highest) of the rounds")
    for target in targets:
        line = f"  {target.name:36} up to {FEW:,} SAs {middle(target.rates(FEW), '6.0f')}"
        if target.established > FEW:
            late = [r.count / r.responder for r in target.rounds if r.before >= FEW]
            line += f"   {FEW:,} to {target.established:,} {middle(late, '6.0f')}"
        print(line)
    for target in targets[1:]:
        ratios = [a / b for a, b in zip(mine.rates(FEW), target.rates(FEW), strict=True)]
        print(f"  ratio to {target.name}, up to {FEW:,} SAs: {middle(ratios)}")
    print("initiator (always ikegate): handshakes a CPU-second, by the responder")
    for target in targets:
        rates = [r.count / r.initiator for r in target.rounds if r.before > 0]
        wall = [r.count / r.seconds for r in target.rounds if r.before > 0]
        print(f"  {target.name:36} {middle(rates, '6.0f')}   {middle(wall, '.0f')} a second with both ends here")


def print_growth(targets: list[Target]) -> None:
    print("responder: cost of a handshake with many SAs standing, against 10 to 1,000")
    for target in targets:
        few = statistics.median(1 / rate for rate in target.rates(FEW))
        last = [r.responder / r.count for r in target.rounds][-3:]
        print(f"  {target.name:36} x{statistics.median(last) / few:.2f} at {target.established:,}")
    print("responder: octets of memory for each established SA, resident (proportional)")
    for target in targets:
        found = []
        for count in sorted(target.memory)[1:]:
            rss, pss = target.octets_an_sa(count)
            found.append(f"{rss / 1024:.1f} ({pss / 1024:.1f}) KiB at {count:,}")
        if target.established > FEW:
            rss, pss = target.octets_an_sa(target.established, FEW)
            found.append(f"{rss / 1024:.1f} ({pss / 1024:.1f}) KiB for each beyond {FEW:,}")
        print(f"  {target.name:36} {', '.join(found)}")


def print_latency(target: Target, theirs: list[float]) -> None:
    took = target.initiator.ask("latency", target.established, LATENCIES)["took"]
    print("one tunnel, from the command to the installed child, milliseconds")
    print(f"  ikegate to ikegate                   {middle([1000 * one for one in took])}")
    if theirs:
        print(f"  charon to charon, by VICI            {middle([1000 * one for one in theirs])}")


def compare(most: int) -> int:
    """Measure and print; the exit status."""
    needs = first_missing("root", "netns")
    if needs:
        print(f"cannot measure handshakes: {needs}", file=sys.stderr)
        return 2
    absent = first_missing("root", "tun", "netns") or missing("charon")
    clients = most + LATENCIES
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        targets = [stack.enter_context(ours(clients, folder))]
        if absent:
            print(f"no comparison: {absent}", file=sys.stderr)
        else:
            for name, remote in ((WHOLE, CLIENTS), (_ALONE, "198.51.100.1/32")):
                here = folder / name.replace(" ", "-")
                here.mkdir()
                targets.append(stack.enter_context(charons(clients, here, name, remote)))
        grow(targets, most)
        print_speed(targets)
        print_growth(targets)
        print_latency(targets[0], [] if absent else charon_latency(LATENCIES, folder / "latency"))
    if not absent:
        print(_CAVEATS.format(version=_version()))
    return 1 if absent else 0


def _version() -> str:
    done = run("dpkg-query", "-W", "charon-systemd", check=False)
    return done.stdout.replace("\t", " ").strip()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handshakes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stop at 1,000 SAs, not 10,000")
    options = parser.parse_args(words)
    try:
        return compare(FEW if options.quick else 10 * FEW)
    except (CommandFailedError, CharonError, subprocess.TimeoutExpired) as failure:
        print(f"cannot measure: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
