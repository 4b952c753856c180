"""`ikegate demo`: two offices on this machine, a tunnel between them, and traffic through it."""

import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click
import yaml

import gateway as product
from gateway.cli.connection import Connection, Refusal, Target, Unreachable
from gateway.cli.demo_charon import start_charon
from gateway.cli.demo_network import INTERRUPTS, PREFIX, DemoFailed, Namespace, cable, cable_to_host, sites
from gateway.cli.echo import Echo
from gateway.cli.local import CLI_TOKEN, NoDoor, read_door, read_setup_link
from gateway.cli.shown import octets, safe

WEB_PORT = 8443
START_PATIENCE = 90.0
TUNNEL_PATIENCE = 30.0
_HEADQUARTERS, _BRANCH = "headquarters", "branch"
_LOG_LINES = 25


@dataclass(frozen=True, slots=True)
class Office:
    """One end: where it is outside, what lies inside, and who begins."""

    site: str
    outside: str
    inside: str
    network: str
    start: str

    @property
    def identity(self) -> str:
        return f"{self.site}.example"


HEADQUARTERS = Office(_HEADQUARTERS, "192.0.2.1", "10.1.0.1", "10.1.0.0/24", "always")
BRANCH = Office(_BRANCH, "192.0.2.2", "10.2.0.1", "10.2.0.0/24", "passive")


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), help="End by itself after this long.")
@click.option("--strongswan", is_flag=True, help="The branch office is strongSwan instead of a second ikegate.")
@click.option("--plane", type=click.Choice(["auto", "kernel", "userspace"]), default="auto", show_default=True)
def demo(seconds: float | None, strongswan: bool, plane: str) -> None:
    """Two offices in network namespaces of this machine, a tunnel between them, pings through it. Needs root.

    Nothing outside is touched, and everything is removed at the end: Ctrl-C.
    """
    if os.geteuid():
        raise click.ClickException("The demo makes network namespaces: run it as root (sudo ikegate demo).")
    with interruptible():
        try:
            with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as name, _telling(Path(name)):
                answered = _run(Path(name), seconds, strongswan, plane)
        except KeyboardInterrupt:
            click.echo("\nThe demo is ended.")
            return
    click.echo("The demo is over.")
    if not answered:
        raise click.ClickException("No ping was answered.")


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """What went wrong is told with what the programs logged in their `folder`, which is about to go."""
    try:
        yield
    except (DemoFailed, Unreachable, Refusal, NoDoor) as error:
        raise click.ClickException(f"{safe(error)}{_logs(folder)}") from None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does; while it tidies up, nothing interrupts it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(folder: Path, seconds: float | None, strongswan: bool, plane: str) -> int:
    """The demo from the first namespace to the last ping; how many were answered."""
    secret = secrets.token_urlsafe(24)
    with sites(_HEADQUARTERS, _BRANCH) as (here, there):
        cable(here, there, f"{HEADQUARTERS.outside}/24", f"{BRANCH.outside}/24")
        for namespace, office in ((here, HEADQUARTERS), (there, BRANCH)):
            namespace.ip("address", "add", f"{office.inside}/24", "dev", "lo")
        ours = _start_ikegate(here, folder, HEADQUARTERS, BRANCH, secret, plane)
        theirs = None
        if strongswan:
            start_charon(there, folder / _BRANCH, secret)
        else:
            theirs = _start_ikegate(there, folder, BRANCH, HEADQUARTERS, secret, plane)
        target = _wait_for(ours, here)
        _introduce(ours, target)
        if theirs:
            _introduce(theirs, _wait_for(theirs, there))
        else:
            click.echo("branch: strongSwan, 192.0.2.2, network 10.2.0.0/24")
        _wait_for_tunnel(target)
        with here.entered():
            echo = Echo(HEADQUARTERS.inside, BRANCH.inside)
        with contextlib.closing(echo):
            _ping(echo, target, seconds)
            return echo.answered


@dataclass(frozen=True, slots=True)
class _Started:
    office: Office
    data: Path
    address: str


def _start_ikegate(here: Namespace, folder: Path, office: Office, peer: Office, secret: str, plane: str) -> _Started:
    address = cable_to_host(here)
    data = folder / office.site
    data.mkdir(mode=0o700)
    document = data / "demo.yaml"
    document.write_text(yaml.safe_dump(_document(office, peer, secret), sort_keys=False))
    document.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IKEGATE_")}
    source = str(Path(product.__file__).parents[1])
    environment |= {
        "IKEGATE_DATA": str(data),
        "IKEGATE_PLANE": plane,
        "IKEGATE_WEB_PORT": str(WEB_PORT),
        "IKEGATE_PUBLIC_NAME": address,
        "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", "")))),
    }
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(document)]
    here.start(*command, log=data / "log", environment=environment)
    return _Started(office, data, address)


def _document(office: Office, peer: Office, secret: str) -> dict[str, Any]:
    """The configuration of one end, as `ikegate apply` takes it."""
    child = {
        "name": "offices",
        "local_selectors": [office.network],
        "remote_selectors": [peer.network],
        "start": office.start,
    }
    return {
        "apiVersion": "ikegate/v1",
        "psks": [{"name": "demo", "secret": secret, "local_ids": [office.identity], "remote_ids": [peer.identity]}],
        "peers": [
            {
                "name": peer.site,
                "description": "The other end of the demo",
                "local_id": office.identity,
                "remote_id": peer.identity,
                "local_addresses": [office.outside],
                "remote_addresses": [peer.outside],
                "children": [child],
            }
        ],
    }


def _wait_for(started: _Started, here: Namespace) -> Target:
    """Until the gateway answers. Raises DemoFailed."""
    (process,) = here.processes
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"the gateway of {started.office.site} does not start")
        if (started.data / CLI_TOKEN).exists():
            door = read_door(started.data)
            target = Target.to_door(door, f"https://{started.address}:{WEB_PORT}")
            with contextlib.suppress(Unreachable), Connection(target, 2) as connection:
                connection.get("/system")
                return target
        time.sleep(0.1)
    raise DemoFailed(f"the gateway of {started.office.site} does not answer after {START_PATIENCE:.0f} s")


def _introduce(started: _Started, target: Target) -> None:
    with Connection(target) as connection:
        system = connection.get("/system")
    office = started.office
    click.echo(f"{office.site}: ikegate, {office.outside}, network {office.network}, {safe(system['data_plane'])}")
    if system["problems"]:
        raise DemoFailed("; ".join(system["problems"]))
    link = read_setup_link(started.data)
    click.echo(f"  console: {link or target.url}")


def _wait_for_tunnel(target: Target) -> None:
    click.echo("Setting up the tunnel … ", nl=False)
    begun = time.monotonic()
    with Connection(target) as connection:
        while time.monotonic() - begun < TUNNEL_PATIENCE:
            peer = connection.get(f"/status/{_BRANCH}")
            if peer["state"] == "up":
                (sa, *_) = connection.get("/ike-sas")["items"]
                click.echo(f"up after {time.monotonic() - begun:.1f} s: {sa['algorithms']}")
                return
            time.sleep(0.1)
    raise DemoFailed(f"the tunnel is not up after {TUNNEL_PATIENCE:.0f} s: {peer['reason']}. {peer['advice']}")


def _ping(echo: Echo, target: Target, seconds: float | None) -> None:
    """One ping a second, and what the gateway counted."""
    click.echo(f"Pinging {BRANCH.inside} from {HEADQUARTERS.inside} through the tunnel; Ctrl-C ends the demo.")
    end = None if seconds is None else time.monotonic() + seconds
    due = time.monotonic()
    while end is None or due < end:
        took = echo.ping(1.0)
        with Connection(target) as connection:
            children = connection.get("/child-sas")["items"]
        result = f"answered in {1000 * took:.1f} ms" if took is not None else "not answered"
        click.echo(f"{time.strftime('%H:%M:%S')}  ping {echo.sent} {result}  {_counted(children)}")
        due = max(due + 1, time.monotonic())
        time.sleep(max(0.0, (due if end is None else min(due, end)) - time.monotonic()))


def _counted(children: Sequence[dict[str, Any]]) -> str:
    if not children:
        return "no CHILD_SA"
    child = children[-1]
    ways = (f"{child[f'packets_{way}']} packets {octets(child[f'octets_{way}'])} {way}" for way in ("out", "in"))
    return f"tunnel: {', '.join(ways)}, {child['rekeys']} rekeys"


def _logs(folder: Path) -> str:
    """The ends of what the two ends logged, for a message about a failure."""
    found = []
    for path in sorted(folder.glob("*/log")):
        lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        found += [f"\n--- {path.parent.name}:", *(safe(line) for line in lines if "token=" not in line)]
    return "\n".join(found)
