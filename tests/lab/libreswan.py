"""Runs libreswan's pluto in a namespace, from its unpacked Debian package, all its files in a folder of its own."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.lab.kernel import inside_kernel
from tests.lab.namespaces import CommandFailedError, Namespace, run, stop

ROOT = Path(__file__).parents[2] / ".venv" / "lab" / "libreswan"
"""Where `install-packages` unpacks it: the package itself cannot stand beside strongSwan's."""

_SETUP = """
config setup
    plutodebug=base
conn %default
    ikev2=insist
    authby=secret
    leftupdown=%disabled
    auto=ignore
"""


def unpacked() -> str:
    """Why libreswan cannot run here, or ""."""
    return "" if (ROOT / "usr/libexec/ipsec/pluto").exists() else "no libreswan (tests/lab/install-packages unpacks it)"


class Libreswan:
    """One pluto in a namespace, with the kernel's ESP; `with Libreswan(…) as pluto` starts and stops it.

    It looks for its helper programs where the package puts them, which is made so in a guest's scratch layer: it runs
    in guests alone. In its connections "left" is its own end.
    """

    def __init__(self, ns: Namespace, folder: Path) -> None:
        self.ns = ns
        self.folder = folder
        self.connections: set[str] = set()
        """Those that were ever loaded."""
        self.process: subprocess.Popen[bytes] | None = None
        self.run_folder = Path(tempfile.mkdtemp(prefix="pluto-"))  # a socket's path has 107 octets at most
        self._environment = {"LD_LIBRARY_PATH": ":".join(map(str, (ROOT / "usr/lib").glob("*-linux-gnu*")))}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nss").mkdir(exist_ok=True)

    def __enter__(self) -> "Libreswan":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _socket(self) -> str:
        return str(self.run_folder / "pluto.ctl")

    def start(self, timeout: float = 30.0) -> None:
        """Start pluto without connections; raises CommandFailedError with its log when it does not come up."""
        if not inside_kernel():
            raise CommandFailedError("libreswan runs in a guest kernel alone")
        self._prepare()
        (self.folder / "ipsec.conf").write_text(_SETUP)
        (self.folder / "ipsec.secrets").write_text("")
        nss = f"sql:{self.folder}/nss"
        run(*self._program("usr/bin/certutil"), "-N", "-d", nss, "--empty-password", env=self._environment)
        self.process = self.ns.start(
            *self._program("usr/libexec/ipsec/pluto"),
            "--nofork",
            *("--config", str(self.folder / "ipsec.conf")),
            *("--secretsfile", str(self.folder / "ipsec.secrets")),
            *("--nssdir", str(self.folder / "nss")),
            *("--rundir", str(self.run_folder)),
            *("--logfile", str(self.folder / "pluto.log")),
            output=self.folder / "stdout",
            env=self._environment,
        )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(CommandFailedError):
                self.whack("--status")
                return
            time.sleep(0.05)
        self.stop()
        raise CommandFailedError(f"pluto did not start\n{(self.folder / 'stdout').read_text()}{self.log()}")

    def _prepare(self) -> None:
        """Let it find its helper programs."""
        programs = Path("/usr/libexec/ipsec")
        if not programs.exists():
            programs.symlink_to(ROOT / "usr/libexec/ipsec")

    def _program(self, path: str) -> list[str]:
        """The words that run a program of the package."""
        return [str(ROOT / path)]

    def stop(self) -> None:
        """End pluto (it sends deletes for its SAs); the log stays. Safe to call twice."""
        if self.process is not None:
            self.whack("--shutdown", check=False)
            stop(self.process)
            self.process = None
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def load(self, connections: Mapping[str, Mapping[str, str]], secrets: str) -> None:
        """Add these connections, each a mapping of ipsec.conf's words, and read the lines of ipsec.secrets."""
        text = _SETUP
        for name, words in connections.items():
            text += f"conn {name}\n" + "".join(f"    {key}={value}\n" for key, value in words.items())
        (self.folder / "ipsec.conf").write_text(text)
        (self.folder / "ipsec.secrets").write_text(secrets + "\n")
        self.whack("--rereadsecrets")
        self.connections.update(connections)
        for name in connections:
            self.ns.run(
                *self._program("usr/libexec/ipsec/addconn"),
                *("--config", str(self.folder / "ipsec.conf")),
                *("--ctlsocket", self._socket),
                name,
                env=self._environment,
            )

    def trust(self, name: str, authority: str) -> None:
        """Take this authority's certificate (PEM) for a root."""
        path = self.folder / f"{name}.pem"
        path.write_text(authority)
        self._nss("certutil", "-A", "-n", name, "-t", "CT,,", "-i", str(path))

    def own(self, name: str, octets: bytes, password: str) -> None:
        """Take a certificate with its key (PKCS#12) for a connection's `leftcert`."""
        path = self.folder / f"{name}.p12"
        path.write_bytes(octets)
        self._nss("pk12util", "-i", str(path), "-W", password, "-K", "")

    def _nss(self, program: str, *words: str) -> None:
        run(*self._program(f"usr/bin/{program}"), *words, "-d", f"sql:{self.folder}/nss", env=self._environment)

    def whack(self, *words: str, check: bool = True, timeout: float = 30.0) -> str:
        """Pluto's control program; raises CommandFailedError when it refuses, if `check`."""
        command = (*self._program("usr/libexec/ipsec/whack"), "--ctlsocket", self._socket, *words)
        return self.ns.run(*command, env=self._environment, check=check, timeout=timeout).stdout

    def initiate(self, name: str) -> None:
        """Bring a connection up, and wait for it."""
        self.whack("--name", name, "--initiate")

    def terminate(self, name: str) -> None:
        self.whack("--name", name, "--terminate", check=False)

    def rekey(self, name: str, *, ike: bool = False) -> None:
        """Rekey the connection's CHILD_SA, or its IKE SA; does not wait for the end."""
        self.whack("--asynchronous", "--rekey-ike" if ike else "--rekey-ipsec", "--name", name)

    def states(self, name: str) -> list[str]:
        """The lines of `whack --showstates` about established SAs of the connection."""
        lines = self.whack("--showstates").splitlines()
        return [line for line in lines if f'"{name}"' in line and "established" in line.lower()]

    def log(self) -> str:
        """All that pluto logged."""
        path = self.folder / "pluto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, lines: int = 25) -> str:
        """The end of the log, for a message about a failure."""
        return "\n".join(self.log().splitlines()[-lines:])
