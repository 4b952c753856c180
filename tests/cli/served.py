"""Real `ikegate serve` processes, on ports that nobody else uses, and the command to ask them with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner, Result

from gateway.cli import main
from tests.lab.ports import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0
FORCED = "graceful shutdown exceeded"
"""What uvicorn says of an end that it had to force after some seconds."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, with no other IKEGATE_ settings than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IKEGATE_")}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


class Served:
    """One gateway with the memory plane unless `settings` say otherwise; `with Served(folder) as gateway`.

    `before` are words in front of the command, such as those of setpriv.
    """

    def __init__(self, folder: Path, *words: str, before: Sequence[str] = (), **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        ports = free_ports(2)
        self.settings = {
            "IKEGATE_DATA": str(self.data),
            "IKEGATE_PLANE": "memory",
            "IKEGATE_WEB_HOST": "127.0.0.1",
            "IKEGATE_WEB_PORT": "0",
            "IKEGATE_IKE_PORT": str(ports[0]),
            "IKEGATE_NAT_PORT": str(ports[1]),
            **settings,
        }
        self.ike_port, self.nat_port = (int(self.settings[f"IKEGATE_{name}_PORT"]) for name in ("IKE", "NAT"))
        self.words = words
        self.before = before
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # nobody else would end it
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it introduced itself."""
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "gateway.cli", "serve", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(self.settings),
                text=True,
                cwd="/",
            )
        deadline = time.monotonic() + PATIENCE
        while "fingerprint" not in self.out:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.err}"
            assert time.monotonic() < deadline, f"it does not start: {self.out}{self.err}"
            time.sleep(0.05)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def door(self) -> dict[str, str]:
        """The url and the token of the local command."""
        found: dict[str, str] = json.loads((self.data / "cli-token").read_text())
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def ask(self, *words: str, stdin: str = "", **settings: str) -> Result:
        """`ikegate words…` as the owner of the data folder."""
        return ask(*words, stdin=stdin, IKEGATE_DATA=str(self.data), **settings)

    def told(self, *words: str) -> Any:
        """What `ikegate words… --json` prints."""
        done = self.ask(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def apply(self, document: Mapping[str, Any]) -> Result:
        return self.ask("apply", "-f", "-", stdin=json.dumps(document))


def ask(*words: str, stdin: str = "", **settings: str) -> Result:
    """`ikegate words…` with these settings and no other."""
    absent = dict.fromkeys(name for name in os.environ if name.startswith("IKEGATE_"))
    return CliRunner().invoke(main, list(words), input=stdin, env={**absent, **settings}, catch_exceptions=False)


def document(
    here: str, there: str, port: int, secret: str = "a secret for the two of them", **peer: Any
) -> dict[str, Any]:
    """One end of a tunnel to `there` on this machine: at its port for encapsulated IKE, which is where all begins."""
    networks = {"moon": "10.1.0.0/24", "sun": "10.2.0.0/24"}
    child = {
        "name": "net",
        "local_selectors": [networks[here]],
        "remote_selectors": [networks[there]],
        "start": "passive",
    }
    ids = {"local_ids": [f"{here}.example"], "remote_ids": [f"{there}.example"]}
    entry = {
        "name": there,
        "local_id": f"{here}.example",
        "remote_id": f"{there}.example",
        "remote_addresses": ["127.0.0.1"],
        "remote_port": port,
        "retransmit": {"tries": 3, "base": 0.4, "factor": 1.5, "jitter": 0},
        "children": [child],
        **peer,
    }
    return {"apiVersion": "ikegate/v1", "psks": [{"name": "key", "secret": secret, **ids}], "peers": [entry]}
