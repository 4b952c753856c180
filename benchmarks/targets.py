"""Responders under test, ours and strongSwan's charon, each called by our initiator, side by side in one run.

Two network namespaces a target. CPU time is the kernel's account of the whole process, user and system.
"""

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
from benchmarks.strongswan import CONNECTION
from tests.lab.charon import Charon
from tests.lab.namespaces import CommandFailedError, Namespace, Network, two_sites

AT_ONCE = 32  # below every threshold for cookies
INNER = "10.1.0.0/24"  # what lies behind a charon that calls
WHOLE = "charon with kernel-libipsec"
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


USUAL = Kind()


def start_charon(ns: Namespace, folder: Path, side: tuple[str, str, str, str], remote: str, kind: Kind) -> Charon:
    here, there, us, them = side
    charon = kind.daemon(ns, folder, kind.plugins, settings=SETTINGS)
    charon.start()
    local = NETS if us == "gw.example" else INNER
    words = {"ike": kind.proposal, "esp": ESP, "secret": SECRET, "local": local, "remote": remote}
    charon.load(CONNECTION.format(here=here, there=there, ours=us, theirs=them, **words))
    return charon


@contextlib.contextmanager
def charons(clients: int, folder: Path, name: str, remote: str, kind: Kind = USUAL) -> Iterator[Target]:
    """ikegate calls charon, whose child is for the networks `remote`."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        charon = start_charon(right, folder / "charon", ("192.0.2.2", "%any", "gw.example", "*.example"), remote, kind)
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
