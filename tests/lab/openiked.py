"""Runs OpenIKED (OpenBSD's iked, ported) in a namespace of a guest, from its unpacked Debian package."""

import shutil
import subprocess
import time
from pathlib import Path

from tests.lab.kernel import inside_kernel
from tests.lab.namespaces import CommandFailedError, Namespace, stop

ROOT = Path(__file__).parents[2] / ".venv" / "lab" / "openiked"
_HOME, _USER = Path("/etc/iked"), "_iked:x:4500:4500::/var/empty:/usr/sbin/nologin\n"


def unpacked() -> str:
    """Why OpenIKED cannot run here, or ""."""
    return "" if (ROOT / "usr/sbin/iked").exists() else "no OpenIKED (tests/lab/install-packages unpacks it)"


class OpenIked:
    """One iked with the kernel's ESP, for one configuration; `with OpenIked(…) as iked` starts and stops it.

    It reads certificates from a folder that it has by heart and drops its rights to a user of its own: both are made in
    the guest's scratch layer.
    """

    def __init__(self, ns: Namespace, folder: Path, configuration: str) -> None:
        self.ns = ns
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self._text = configuration
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "OpenIked":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def own(self, certificate: str, key: str, authority: str) -> None:
        """Its certificate with its key, and the authority that it trusts; all PEM. Before it starts."""
        for part, text in (("certs/own.crt", certificate), ("private/local.key", key), ("ca/ca.crt", authority)):
            (_HOME / part).parent.mkdir(parents=True, exist_ok=True)
            (_HOME / part).write_text(text)
        (_HOME / "private/local.key").chmod(0o600)

    def start(self, timeout: float = 20.0) -> None:
        """Raises CommandFailedError with its log when it does not come up."""
        if not inside_kernel():
            raise CommandFailedError("OpenIKED runs in a guest kernel alone")
        if "_iked:" not in Path("/etc/passwd").read_text():
            with Path("/etc/passwd").open("a") as users, Path("/etc/group").open("a") as groups:
                users.write(_USER)
                groups.write("_iked:x:4500:\n")
        for part in ("ca", "certs", "crls", "private", "pubkeys/fqdn", "ocsp"):
            (_HOME / part).mkdir(parents=True, exist_ok=True)
        Path("/var/empty").mkdir(exist_ok=True)
        path = self.folder / "iked.conf"
        path.write_text(self._text)
        path.chmod(0o600)
        libraries = ":".join(map(str, ROOT.glob("usr/lib/*-linux-gnu")))
        words = ("env", f"LD_LIBRARY_PATH={libraries}", str(ROOT / "usr/sbin/iked"), "-d", "-v", "-f", str(path))
        self.process = self.ns.start(*words, output=self.folder / "log")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            if Path("/var/run/iked.sock").exists():
                return
            time.sleep(0.05)
        self.stop()
        raise CommandFailedError(f"iked did not start\n{self.log()}")

    def stop(self) -> None:
        """End it; the log stays. Safe to call twice."""
        if self.process is not None:
            stop(self.process)
            self.process = None
        Path("/var/run/iked.sock").unlink(missing_ok=True)
        shutil.rmtree(_HOME, ignore_errors=True)

    def log(self) -> str:
        """All that it logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""
