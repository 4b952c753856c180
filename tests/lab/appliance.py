"""Runs our gateway as a process in a namespace, with its database, keys and log in a folder of its own."""

import base64
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.namespaces import Namespace, stop

ROOT = Path(__file__).parents[2]

Found = TypeVar("Found")
Plain = dict[str, Any]


class ApplianceError(Exception):
    """The gateway did not start, refused an order or went away; the text ends with its log."""


class Appliance:
    """One gateway in a namespace; `with Appliance(…) as gateway` starts and stops it.

    What is asked of it comes back as plain data, in the fields of `gateway.service.status`, `gateway.ike.attempts` and
    `gateway.service.planning`. `plane` is a data plane's name; `settings` are further IKEGATE_… variables.
    """

    module = "tests.lab.appliance_main"
    """What runs as its process."""

    def __init__(
        self, ns: Namespace, folder: Path, plane: str = "userspace", *, settings: Mapping[str, str] | None = None
    ) -> None:
        self.ns = ns
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {"IKEGATE_PLANE": plane, "IKEGATE_DATA": str(folder / "data"), **(settings or {})}
        self._unread = b""
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Appliance":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 60.0) -> Plain:
        """Start the process and wait until it serves; raises ApplianceError, also for what keeps IKE from running."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "setpriv", "--pdeathsig", "KILL",
                    *self.ns.command(sys.executable, "-m", self.module),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        self.ns.started.append(self.process)
        self._unread = b""
        served: Plain = self._answer(timeout)
        if served["problems"] and "IKEGATE_KEY_LOG" not in self.environment:
            raise ApplianceError(f"it says: {served['problems']}\n{self.tail()}")
        return served

    def stop(self, grace: float = 10.0) -> int | None:
        """End the process by SIGTERM (it says goodbye to its peers), and answer its status; safe to call twice."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        stop(process, grace=grace)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        return process.returncode

    def kill(self) -> None:
        """End the process as a power failure would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.stop()

    def ask(self, do: str, *, patience: float = 30.0, **arguments: Any) -> Any:
        """Give an order to `tests.lab.appliance_main`, and answer its answer. Raises ApplianceError when refused."""
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ApplianceError(f"the gateway is gone\n{self.tail()}") from None
        return self._answer(patience)

    def _answer(self, patience: float) -> Any:
        assert self.process is not None and self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ApplianceError(f"no answer within {patience:g} s\n{self.tail()}")
                part = os.read(descriptor, 1 << 20)
                if not part:
                    raise ApplianceError(f"the gateway ended with status {self.process.wait()}\n{self.tail()}")
                self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise ApplianceError(f"{answer['error']}\n{self.tail()}")
        return answer["ok"]

    # What a test asks for most.

    def apply(self, document: Mapping[str, Any], *, prune: bool = False) -> Plain:
        """Lay a document over the configuration; answers `gateway.service.planning.Written`."""
        written: Plain = self.ask("apply", document={"apiVersion": "ikegate/v1", **document}, prune=prune)
        return written

    def status(self) -> Plain:
        answer: Plain = self.ask("status")
        return answer

    def peer(self, name: str) -> Plain:
        """How a peer is now (`gateway.service.status.PeerStatus`)."""
        return next(peer for peer in self.status()["peers"] if peer["name"] == name)

    def ike_sas(self, peer: str = "") -> list[Plain]:
        """The established IKE SAs, of one peer or all."""
        return [sa for sa in self.status()["ike_sas"] if sa["state"] == "established" and peer in ("", str(sa["peer"]))]

    def children(self, peer: str = "") -> list[Plain]:
        """The CHILD_SAs of the established IKE SAs."""
        return [child for sa in self.ike_sas(peer) for child in sa["children"]]

    def attempt(self, peer: str | None = None) -> Plain:
        """The newest negotiation, with one peer or anybody."""
        found: list[Plain] = self.ask("attempts", peer=peer, limit=1)
        if not found:
            raise ApplianceError(f"there was no negotiation with {peer or 'anybody'}\n{self.tail()}")
        return found[0]

    def connect(self, peer: str, child: str | None = None, wait: float = 10.0) -> Plain:
        """Bring a peer up, waiting up to `wait` seconds; answers `gateway.service.done.Done`."""
        done: Plain = self.ask("connect", peer=peer, child=child, wait=wait, patience=wait + 30)
        return done

    def disconnect(self, peer: str, child: str | None = None, wait: float = 10.0) -> Plain:
        done: Plain = self.ask("disconnect", peer=peer, child=child, wait=wait, patience=wait + 30)
        return done

    def rekey(self, peer: str, child: str | None = None, wait: float = 10.0) -> Plain:
        done: Plain = self.ask("rekey", peer=peer, child=child, wait=wait, patience=wait + 30)
        return done

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """What the REST API answers: JSON as plain data, a file as octets. Raises ApplianceError when it refuses."""
        answer = self.ask("rest", method=method, path=path, body=body)
        if answer["status"] >= 400:
            raise ApplianceError(f"{method} {path}: {answer['status']} {answer['content']}\n{self.tail()}")
        content = answer["content"]
        return base64.b64decode(content) if isinstance(content, str) else content

    def log(self) -> str:
        """All that it logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, lines: int = 25) -> str:
        """The end of the log, for a message about a failure."""
        return os.linesep.join(self.log().splitlines()[-lines:])


def until(look: Callable[[], Found], what: str, seconds: float = 10.0, pause: float = 0.05) -> Found:
    """Look again until the answer is true, and answer it; fails the test after `seconds`, saying what was seen last."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; seen last: {found!r}")
        time.sleep(pause)
    return found


def suites(name: str, protocol: str, *texts: str) -> Plain:
    """A proposal object of a document."""
    return {"name": name, "protocol": protocol, "suites": list(texts)}


def document(peers: Iterable[Plain], *, proposals: Iterable[Plain] = (), psks: Iterable[Plain] = ()) -> Plain:
    """A document of these objects."""
    return {"peers": list(peers), "proposals": list(proposals), "psks": list(psks)}
