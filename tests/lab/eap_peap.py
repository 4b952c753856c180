"""Runs charon with EAP-PEAP, which Debian's packages leave out: a library built from the same version's source."""

import functools
import shlex
import subprocess
from pathlib import Path

from tests.lab.charon import DAEMON, Charon
from tests.lab.namespaces import Namespace

LIBRARY = Path(__file__).parents[2] / ".venv" / "lab" / "eap-peap.so"
"""What `install-packages` has built; beside it, with `.version`, the version of strongSwan that it is for."""


@functools.cache
def built() -> str:
    """Why charon cannot speak PEAP here, or ""."""
    if not LIBRARY.exists():
        return "no EAP-PEAP for strongSwan (tests/lab/install-packages builds it, from Debian's source)"
    query = ["dpkg-query", "-W", "-f", "${Version}", "strongswan-libcharon"]
    installed = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    stamp = LIBRARY.with_suffix(".version")
    version = stamp.read_text().strip() if stamp.exists() else "?"
    if version != installed:
        return (
            f"EAP-PEAP was built for strongSwan {version}, not {installed} (tests/lab/install-packages builds it anew)"
        )
    return ""


class PeapCharon(Charon):
    """As `Charon`, with the plugin eap-peap.

    A plugin's maker is looked for among what is in the process already before its file is: nothing need be put among
    the package's files.
    """

    def __init__(
        self, ns: Namespace, workdir: Path, kernel: str = "kernel-libipsec kernel-netlink", *, settings: str = ""
    ) -> None:
        super().__init__(ns, workdir, f"{kernel} eap-peap", settings=settings)

    def _unconfined(self, program: str) -> str:
        copy = super()._unconfined(program)
        if program != DAEMON:
            return copy
        launch = self.folder / "launch"
        launch.write_text(f"#!/bin/sh\nexec env LD_PRELOAD={shlex.quote(str(LIBRARY))} {shlex.quote(copy)}\n")
        launch.chmod(0o700)
        return str(launch)
