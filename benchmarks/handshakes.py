"""IKE handshakes a CPU-second, memory an SA and time to a tunnel, beside strongSwan's charon in one run.

`python -m benchmarks.handshakes [--quick]` as root. Two network namespaces a target; our initiator calls each responder
with ever new identities (pre-shared key, X25519, AES-256-GCM), in alternating rounds. CPU time is the kernel's account
of the whole process, user and system. Nothing is asserted.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.end import CLIENTS, ESP, IKE, NETS, SECRET
from tests.lab.charon import Charon, CharonError
from tests.lab.namespaces import CommandFailedError, Namespace, Network, run, two_sites
from tests.lab.userspace import first_missing, missing

AT_ONCE = 32  # below every threshold for cookies
LATENCIES = 15
_INNER = "10.1.0.0/24"  # what lies behind a charon that calls
FEW = 1000  # up to so many SAs kernel-libipsec's lists cost charon little
WHOLE, _ALONE = "charon with kernel-libipsec", "charon, its IKE SA alone"
SETTINGS = """
  dos_protection = no
  ikesa_table_size = 4096
  ikesa_table_segments = 16
  install_routes = no
  keep_alive = 0
  filelog {
    lab {
      default = -1
      ike = -1
      cfg = -1
      knl = -1
    }
  }
"""
_CAVEATS = """charon: {version}, dos_protection = no, ikesa_table_size = 4096, ikesa_table_segments = 16, no log, no
routes; its ESP is in userspace (kernel-libipsec), whose lists are searched one by one; ours is a data plane in
memory. Its IKE SA alone: it refuses every CHILD_SA (TS_UNACCEPTABLE), so that this is less than a handshake's work."""
_CONNECTION = """
connections {{
  lab {{
    version = 2
    proposals = {ike}
    local_addrs = {here}
    remote_addrs = {there}
    local {{
      auth = psk
      id = {ours}
    }}
    remote {{
      auth = psk
      id = {theirs}
    }}
    children {{
      net {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
secrets {{
  ike-lab {{
    secret = "{secret}"
  }}
}}
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of another process with all its threads; what /proc/PID/stat says, but in nanoseconds."""
    return time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) names


def memory(pid: int) -> tuple[int, int]:
    """Resident and proportional octets."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        found[name] = int(size) * 1024
    return found["Rss:"], found["Pss:"]


class OurEnd:
    """A process of `benchmarks.end` in a namespace."""

    def __init__(
        self,
        ns: Namespace,
        role: str,
        count: int,
        errors: Path,
        proposal: str,
        plane: str = "memory",
        keys: Path | None = None,
    ) -> None:
        words: tuple[str, ...] = (sys.executable, "-m", "benchmarks.end", role, str(count), proposal, plane)
        if keys is not None:
            words = (*words, str(keys))
        with errors.open("ab") as sink:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *ns.command(*words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )
        self.pid = self.process.pid
        self._errors = errors
        self._answer("start")

    def ask(self, *words: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._answer(str(words[0]))

    def _answer(self, what: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"problem": self._errors.read_text()}
        if answer.get("problem"):
            raise CommandFailedError(f"{what}: {answer['problem']}")
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass(slots=True)
class Round:
    """So many handshakes with `before` SAs standing; CPU seconds of both ends."""

    before: int
    count: int
    responder: float
    initiator: float
    seconds: float


@dataclass(slots=True)
class Target:
    """A responder under test, and our initiator that calls it."""

    name: str
    pid: int
    initiator: OurEnd
    settle: Callable[[], object]
    lag: Callable[[], list[float]] = list
    """How late its event loop came back, in seconds, since this was called last."""
    end: str = "child-sa.installed"
    """The event with which a handshake has ended as it should."""
    established: int = 0
    rounds: list[Round] = field(default_factory=list)
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)

    def call(self, count: int) -> None:
        before = cpu_seconds(self.pid), cpu_seconds(self.initiator.pid)
        answer = self.initiator.ask("connect", self.established, count, AT_ONCE, self.end)
        spent = cpu_seconds(self.pid) - before[0], cpu_seconds(self.initiator.pid) - before[1]
        if answer["ended"] != count:
            raise CommandFailedError(f"{self.name}: {answer['ended']} of {count} handshakes came to the end awaited")
        self.rounds.append(Round(self.established, count, *spent, answer["seconds"]))
        self.established += count

    def rekey(self, first: int, count: int, end: str) -> Round:
        """Rekey what so many of the established have; `end` tells what of them."""
        before = cpu_seconds(self.pid), cpu_seconds(self.initiator.pid)
        answer = self.initiator.ask("rekey", first, count, AT_ONCE, end)
        spent = cpu_seconds(self.pid) - before[0], cpu_seconds(self.initiator.pid) - before[1]
        if answer["ended"] != count:
            raise CommandFailedError(f"{self.name}: {answer['ended']} of {count} rekeys came to the end awaited")
        return Round(self.established, count, *spent, answer["seconds"])

    def note_memory(self) -> None:
        self.settle()
        self.memory[self.established] = memory(self.pid)

    def rates(self, below: int | None = None) -> list[float]:
        """Handshakes a CPU-second of the responder, one figure a round."""
        return [r.count / r.responder for r in self.rounds if r.before > 0 and (below is None or r.before < below)]

    def octets_an_sa(self, count: int, since: int = 0) -> tuple[float, float]:
        """Resident and proportional growth for each SA between two counts."""
        now, then = self.memory[count], self.memory[since]
        return (now[0] - then[0]) / (count - since), (now[1] - then[1]) / (count - since)


Opener = Callable[[Path], contextlib.AbstractContextManager[Target]]
"""Opens a target with a folder of its own."""


@contextlib.contextmanager
def ours(
    clients: int, folder: Path, proposal: str = IKE, plane: str = "memory", keys: Path | None = None
) -> Iterator[Target]:
    """ikegate calls ikegate, which has that data plane; `keys` are those of `benchmarks.end`."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        ends = []
        for ns, role in ((right, "responder"), (left, "initiator")):
            mine = plane if role == "responder" else "memory"
            end = OurEnd(ns, role, clients, folder / role, proposal, mine, keys)
            ends.append(stack.enter_context(contextlib.closing(end)))
        responder, initiator = ends
        name, pid = "ikegate", responder.pid
        yield Target(name, pid, initiator, lambda: responder.ask("settle"), lambda: responder.ask("lag")["lags"])


@dataclass(slots=True)
class Kind:
    """Which charon: its release, the proposal of its IKE SA, and its plugins beside the usual ones."""

    daemon: type[Charon] = Charon
    proposal: str = IKE
    plugins: str = "kernel-libipsec kernel-netlink"


_USUAL = Kind()


def _charon(ns: Namespace, folder: Path, side: tuple[str, str, str, str], remote: str, kind: Kind) -> Charon:
    here, there, us, them = side
    charon = kind.daemon(ns, folder, kind.plugins, settings=SETTINGS)
    charon.start()
    local = NETS if us == "gw.example" else _INNER
    words = {"ike": kind.proposal, "esp": ESP, "secret": SECRET, "local": local, "remote": remote}
    charon.load(_CONNECTION.format(here=here, there=there, ours=us, theirs=them, **words))
    return charon


@contextlib.contextmanager
def charons(clients: int, folder: Path, name: str, remote: str, kind: Kind = _USUAL) -> Iterator[Target]:
    """ikegate calls charon, whose child is for the networks `remote`."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        charon = _charon(right, folder / "charon", ("192.0.2.2", "%any", "gw.example", "*.example"), remote, kind)
        stack.callback(charon.stop)
        end = OurEnd(left, "initiator", clients, folder / "caller", kind.proposal)
        initiator = stack.enter_context(contextlib.closing(end))
        assert charon.process is not None
        awaited = "child-sa.installed" if remote == CLIENTS else "exchange.failed"
        yield Target(name, charon.process.pid, initiator, lambda: None, end=awaited)


@contextlib.contextmanager
def side_by_side(mine: Opener, theirs: Opener, absent: str) -> Iterator[list[Target]]:
    """Our responder and theirs, each opened with a folder; ours alone, and why, where theirs is `absent`."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        targets = [stack.enter_context(mine(Path(scratch)))]
        if absent:
            print(f"no comparison: {absent}", file=sys.stderr)
        else:
            folder = Path(scratch) / "peer"
            folder.mkdir()
            targets.append(stack.enter_context(theirs(folder)))
        yield targets


def charon_latency(count: int, folder: Path) -> list[float]:
    """Seconds of VICI's `initiate` between two charons."""
    took = []
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        for ns, name, side, remote in (
            (right, "right", ("192.0.2.2", "%any", "gw.example", "*.example"), _INNER),
            (left, "left", ("192.0.2.1", "192.0.2.2", "c0.example", "gw.example"), NETS),
        ):
            charon = _charon(ns, folder / name, side, remote, _USUAL)
            stack.callback(charon.stop)
        for _ in range(count):
            started = time.perf_counter()
            charon.initiate("net")
            took.append(time.perf_counter() - started)
            charon.terminate("lab")
    return took


def middle(values: list[float], form: str = ".2f") -> str:
    """Median (lowest-highest)."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def alternate(targets: list[Target], rounds: int, count: int) -> None:
    """So many rounds of `count` handshakes, and one before them that warms up; each target is first in turn."""
    for number in range(rounds + 1):
        for target in targets if number % 2 == 0 else targets[::-1]:
            target.call(count)


def print_ratios(targets: list[Target]) -> None:
    """How many times as fast the first one is as each of the others, round by round."""
    for target in targets[1:]:
        ratios = [a / b for a, b in zip(targets[0].rates(), target.rates(), strict=True)]
        print(f"  ratio to {target.name}: {middle(ratios)}")


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
