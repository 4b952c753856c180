"""Runs strongSwan 6, which has ML-KEM, from a root of Debian's next release beside this one's strongSwan 5."""

import shlex
from pathlib import Path

from tests.lab.charon import DAEMON, SWANCTL, Charon

ROOT = Path(__file__).parents[2] / ".venv" / "lab" / "strongswan6"
"""Where `install-packages` unpacks it."""

# The daemon sees its own root, and in it this machine's /tmp, /run, /dev and /proc: a test's folders keep their paths.
_ENTER = "for part in tmp run dev proc; do mount --rbind /$part {root}/$part || exit; done; exec chroot {root} {daemon}"


def unpacked() -> str:
    """Why strongSwan 6 cannot run here, or ""."""
    return "" if (ROOT / DAEMON.lstrip("/")).exists() else "no strongSwan 6 (tests/lab/install-packages unpacks it)"


class Charon6(Charon):
    """As `Charon`; connections are loaded by this machine's swanctl, whose protocol is the same."""

    def _unconfined(self, program: str) -> str:
        if program == SWANCTL:
            return super()._unconfined(program)
        launch = self.folder / "launch"
        script = _ENTER.format(root=shlex.quote(str(ROOT)), daemon=DAEMON)
        launch.write_text(f"#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(script)}\n")
        launch.chmod(0o700)
        return str(launch)
