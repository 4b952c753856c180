"""Private network namespaces joined by veth links: real sockets and routes, nothing outside touched."""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NETNS_FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)
_indices = itertools.count(10)  # of devices in all networks, which may be joined; below are those that the kernel gives


class CommandFailedError(Exception):
    """A lab command ended with a status other than 0; the text holds what it printed."""


def run(
    *command: str,
    check: bool = True,
    timeout: float = 30.0,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, at most `timeout` seconds; `env` is added to this process's environment."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if check and done.returncode:
        raise CommandFailedError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


@dataclass(slots=True)
class Namespace:
    """One network namespace, with its loopback up; made by `Network.namespace`."""

    name: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The file that stands for the namespace (for setns, or pyroute2's `netns=`)."""
        return NETNS_FOLDER / self.name

    def command(self, *command: str) -> list[str]:
        """The words that run `command` in here."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(
        self,
        *command: str,
        check: bool = True,
        timeout: float = 30.0,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in here to its end; raises CommandFailedError on a status that is not 0, if `check`."""
        return run(*self.command(*command), check=check, timeout=timeout, stdin=stdin, env=env)

    def start(self, *command: str, output: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a daemon in here, its stdout and stderr in the file `output`; it ends with the network at the latest.

        It is also killed when the thread that started it ends, so that an interrupted test run leaves nothing behind.
        """
        with output.open("ab") as sink:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command(*command)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        self.started.append(process)
        return process

    def ip(self, *words: str) -> str:
        """`ip -n <here> words…`, and what it printed."""
        return run("ip", "-n", self.name, *words).stdout

    def address(self, device: str, *addresses: str) -> None:
        """Give a device addresses with their prefix lengths; IPv6 ones skip duplicate address detection."""
        for address in addresses:
            self.ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))

    def route(self, destination: str, *words: str) -> None:
        """`ip route replace destination words…`, as in `route("10.2.0.0/24", "via", "192.0.2.2")`."""
        self.ip(*(["-6"] if ":" in destination else []), "route", "replace", destination, *words)

    def sysctl(self, key: str, value: str | int) -> None:
        """Set a network sysctl of this namespace, as in `sysctl("net.ipv4.ip_forward", 1)`."""
        with self.entered():  # no process: starting one is slow in a User-Mode-Linux guest
            Path("/proc/sys", *key.split(".")).write_text(f"{value}\n")

    def ping(self, target: str, *, source: str = "", count: int = 1, wait: float = 2.0, size: int = 56) -> bool:
        """Whether every one of `count` echo requests of `size` octets is answered, waiting `wait` seconds for each."""
        words = ["-c", str(count), "-i", "0.2", "-W", f"{wait:g}", "-s", str(size), *(["-I", source] if source else [])]
        done = self.run("ping", "-n", "-q", *words, target, check=False, timeout=10 + count * (wait + 1))
        return f"{count} received" in done.stdout

    def netem(self, device: str, *words: str) -> None:
        """Make a device's sending side bad: `netem("to-right", "delay", "20ms", "loss", "5%")`; no words mend it.

        Skips the test where the kernel has no netem.
        """
        change = ["replace", "dev", device, "root", "netem", *words] if words else ["del", "dev", device, "root"]
        done = self.run("tc", "qdisc", *change, check=False)
        if "qdisc kind is unknown" in done.stderr:
            pytest.skip("this kernel has no netem")
        if done.returncode:
            raise CommandFailedError(done.stderr)

    def masquerade(self, device: str, *, ports: str = "") -> None:
        """Become a NAT router towards `device`; `ports` ("40000-40999") picks the source ports of what goes out.

        Called again it replaces the rule; `forget_connections` then moves the existing mappings, as a rebooting router
        does.
        Skips the test where the kernel has no nftables NAT for IPv4.
        """
        self.sysctl("net.ipv4.ip_forward", 1)
        change = f"meta l4proto {{ tcp, udp }} masquerade to :{ports}" if ports else "masquerade"
        rules = f"""
            add table ip lab
            delete table ip lab
            table ip lab {{
                chain out {{
                    type nat hook postrouting priority srcnat
                    oifname "{device}" {change}
                    oifname "{device}" masquerade
                }}
            }}"""
        done = self.run("nft", "-f", "-", stdin=rules, check=False)
        if "not supported" in done.stderr:
            pytest.skip("this kernel has no nftables NAT in the ip family")
        if done.returncode:
            raise CommandFailedError(done.stderr)

    def forget_connections(self) -> None:
        """Empty the connection tracking table: every NAT mapping is made anew by the next packet from inside."""
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

        with self.entered(), contextlib.closing(NFCTSocket()) as conntrack:
            conntrack.flush()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace for a while: sockets made inside stay in it."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as home, self.path.open("rb") as here:
            _setns(libc, here.fileno())
            try:
                yield
            finally:
                _setns(libc, home.fileno())

    def stop_all(self) -> None:
        """End what was started in here, then whatever its children left running."""
        for process in self.started:
            stop(process)
        self.started.clear()
        for pid in run("ip", "netns", "pids", self.name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _setns(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def stop(process: subprocess.Popen[bytes], *, grace: float = 3.0) -> None:
    """Ask a process started with its own session to end, and after `grace` seconds kill all of the session's group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Network:
    """A set of namespaces that lives as long as its `with` block.

    Names start with "ikg<pid>-", so that runs side by side do not meet; what a killed run left is removed by the next.
    """

    def __init__(self) -> None:
        self.prefix = f"ikg{os.getpid()}-{next(_numbers)}-"
        self.namespaces: list[Namespace] = []

    def __enter__(self) -> "Network":
        remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def namespace(self, name: str, *, forward: bool = True) -> Namespace:
        """A new namespace with its loopback up; with `forward` it routes between its devices."""
        made = Namespace(self.prefix + name)
        run("ip", "netns", "add", made.name)
        self.namespaces.append(made)
        made.ip("link", "set", "lo", "up")
        if forward:
            made.sysctl("net.ipv4.ip_forward", 1)
            if Path("/proc/sys/net/ipv6").exists():
                made.sysctl("net.ipv6.conf.all.forwarding", 1)
                made.sysctl("net.ipv6.conf.default.accept_dad", 0)  # nobody answers from a tentative link-local address
        return made

    def link(
        self, left: Namespace, right: Namespace, left_addresses: str = "", right_addresses: str = "", *, mtu: int = 1500
    ) -> tuple[str, str]:
        """Join two namespaces by a cable; addresses are words with prefix lengths. Answers the two device names.

        The device in `left` is called "to-<right>" and the other way round.
        """
        ends = (f"to-{self._short(right)}"[:15], f"to-{self._short(left)}"[:15])
        # Linux takes a device whose peer has the same index for one without a peer, and lets it wait up to a second
        # until it has a carrier (linkwatch_urgent_event); until then it loses what it is given.
        one, other = str(next(_indices)), str(next(_indices))
        run(
            "ip", "link", "add", ends[0], "index", one, "mtu", str(mtu), "netns", left.name,
            "type", "veth", "peer", "name", ends[1], "index", other, "mtu", str(mtu), "netns", right.name,
        )  # fmt: skip
        for here, device, addresses in ((left, ends[0], left_addresses), (right, ends[1], right_addresses)):
            here.address(device, *addresses.split())
            here.ip("link", "set", device, "up")
        return ends

    def _short(self, namespace: Namespace) -> str:
        return namespace.name.removeprefix(self.prefix)

    def close(self) -> None:
        """Stop every process in the namespaces and remove them; safe to call twice."""
        while self.namespaces:
            namespace = self.namespaces.pop()
            namespace.stop_all()
            run("ip", "netns", "delete", namespace.name)


def two_sites(network: Network) -> tuple[Namespace, Namespace]:
    """Two gateways on one cable, each with a net of its own on its loopback.

    left: 192.0.2.1, 2001:db8::1, inner 10.1.0.1/24, fd01::1/64
    right: 192.0.2.2, 2001:db8::2, inner 10.2.0.1/24, fd02::1/64
    """
    left, right = network.namespace("left"), network.namespace("right")
    network.link(left, right, "192.0.2.1/24 2001:db8::1/64", "192.0.2.2/24 2001:db8::2/64")
    left.address("lo", "10.1.0.1/24", "fd01::1/64")
    right.address("lo", "10.2.0.1/24", "fd02::1/64")
    return left, right


def remove_leftovers() -> None:
    """Remove empty namespaces of this lab whose test process is gone (it was killed before it could tidy up)."""
    if not NETNS_FOLDER.is_dir():
        return
    for entry in NETNS_FOLDER.iterdir():
        owner = re.match(r"ikg(\d+)-", entry.name)
        if (
            owner
            and not Path("/proc", owner[1]).exists()
            and not run("ip", "netns", "pids", entry.name, check=False).stdout
        ):
            run("ip", "netns", "delete", entry.name, check=False)
