"""The demo's network: namespaces of our own, cables between them, and all of it gone at the end."""

import contextlib
import ctypes
import ipaddress
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NETNS = Path("/run/netns")
PREFIX = "ikegate-demo-"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the demo: Ctrl-C, and as it does SIGTERM and a closed terminal."""
_CLONE_NEWNET = 0x40000000
_PATIENCE = 10.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


def ip(*words: str) -> str:
    """`ip words…`, and what it printed. Raises DemoFailed."""
    program = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise DemoFailed("the demo needs the command ip (Debian package iproute2)")
    with _uninterrupted():
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=30, check=False, start_new_session=True
        )
    if done.returncode:
        raise DemoFailed(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Heed Ctrl-C and the like only afterwards: what the command makes is there by then, and can be removed."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


@dataclass(slots=True)
class Namespace:
    """One network namespace; `site` is its short name, `host_devices` the host's ends of cables into it."""

    site: str
    name: str
    host_devices: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def ip(self, *words: str) -> str:
        return ip("-n", self.name, *words)

    def start(self, *command: str, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program in here, apart from the terminal's Ctrl-C, ended when this process dies."""
        with log.open("ab") as sink:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "ip", "netns", "exec", self.name, *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in the namespace for a while: a socket made meanwhile stays there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as home, (NETNS / self.name).open("rb") as here:
            _enter(libc, here.fileno())
            try:
                yield
            finally:
                _enter(libc, home.fileno())

    def stop(self) -> None:
        """Ask what was started in here to end, in reverse order, and insist after a while."""
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def sites(*names: str) -> Iterator[list[Namespace]]:
    """Namespaces with their loopback up; what runs in them is stopped and they are removed however the block ends."""
    _remove_leftovers()
    with contextlib.ExitStack() as until_end:
        made = []
        for name in names:
            here = Namespace(name, f"{PREFIX}{os.getpid()}-{name}")
            until_end.callback(_delete, here)  # before it is there: an interrupt may fall between the two
            ip("netns", "add", here.name)
            here.ip("link", "set", "lo", "up")
            made.append(here)
        for here in made:
            until_end.callback(here.stop)
        yield made


def _delete(here: Namespace) -> None:
    for device in here.host_devices:  # by itself it would go too, but only a moment after the namespace
        if Path("/sys/class/net", device).exists():
            ip("link", "delete", device)
    if not (NETNS / here.name).exists():
        return
    for pid in ip("netns", "pids", here.name).split():  # children of what we started that outlived it
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "delete", here.name)


def _remove_leftovers() -> None:
    """Namespaces of a demo that was killed, if nothing runs in them any more, and its files."""
    for entry in NETNS.iterdir() if NETNS.is_dir() else ():
        owner = re.fullmatch(rf"{PREFIX}(\d+)-[a-z]+", entry.name)
        if owner and not Path("/proc", owner[1]).exists():
            with contextlib.suppress(DemoFailed):  # another demo may be removing it at this moment
                if not ip("netns", "pids", entry.name).split():
                    ip("netns", "delete", entry.name)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = re.fullmatch(rf"{PREFIX}(\d+)-\w+", folder.name)
        facts = folder.lstat()
        if owner and not Path("/proc", owner[1]).exists() and (facts.st_uid, stat.S_ISDIR(facts.st_mode)) == (0, True):
            shutil.rmtree(folder, ignore_errors=True)  # it holds keys


def cable(left: Namespace, right: Namespace, left_address: str, right_address: str) -> None:
    """Join two namespaces; the device is called `outside` at both ends."""
    # Linux takes a device whose peer has the same index for one without a peer, and lets it wait up to a second
    # until it has a carrier (linkwatch_urgent_event).
    one, other = ("outside", "index", "10", "netns", left.name), ("outside", "index", "11", "netns", right.name)
    ip("link", "add", *one, "type", "veth", "peer", "name", *other)
    for here, address in ((left, left_address), (right, right_address)):
        here.ip("address", "add", address, "dev", "outside")
        here.ip("link", "set", "outside", "up")


def cable_to_host(here: Namespace) -> str:
    """Join a namespace with the host, so that a browser here reaches its console; the address to open."""
    network = _free_network()
    host, guest = network.hosts()
    device = f"ikd{os.getpid()}{here.site[0]}"
    here.host_devices.append(device)
    ip("link", "add", device, "type", "veth", "peer", "name", "host", "netns", here.name)
    ip("address", "add", f"{host}/{network.prefixlen}", "dev", device)
    ip("link", "set", device, "up")
    here.ip("address", "add", f"{guest}/{network.prefixlen}", "dev", "host")
    here.ip("link", "set", "host", "up")
    return str(guest)


def _free_network() -> ipaddress.IPv4Network:
    """Four private addresses that no route of the host knows."""
    known = []
    for route in json.loads(ip("-4", "-json", "route", "show", "table", "all")):
        with contextlib.suppress(ValueError):  # "default"
            known.append(ipaddress.IPv4Network(route["dst"]))
    for network in ipaddress.IPv4Network("10.254.0.0/16").subnets(new_prefix=30):
        if not any(network.overlaps(other) for other in known):
            return network
    raise DemoFailed("no private network is free for the way to the console (all of 10.254.0.0/16 is in use)")
