"""libreswan 5, which has session resumption: in a Debian root of its own, its libraries are newer than this one's."""

import os
from pathlib import Path

from tests.lab.libreswan import Libreswan
from tests.lab.namespaces import Namespace, run

ROOT = Path(os.environ.get("IKEGATE_LIBRESWAN5") or Path(__file__).parents[2] / ".venv" / "lab" / "libreswan5")
"""Where `install-packages` makes it, or where IKEGATE_LIBRESWAN5 says."""


def unpacked() -> str:
    """Why libreswan 5 cannot run here, or ""."""
    return "" if (ROOT / "usr/libexec/ipsec/pluto").exists() else "no libreswan 5 (tests/lab/install-packages makes it)"


class Libreswan5(Libreswan):
    """One pluto of version 5; the folders that it shares with the test are mounted into its root, in a guest."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        super().__init__(ns, folder)
        self._environment = {}

    def _prepare(self) -> None:
        for shared in (self.folder, self.run_folder, Path("/dev"), Path("/proc"), Path("/sys")):
            inside = ROOT / shared.relative_to("/")
            inside.mkdir(parents=True, exist_ok=True)
            run("mount", "--rbind", str(shared), str(inside))

    def rekey(self, name: str, *, ike: bool = False) -> None:
        self.whack("--asynchronous", "--rekey-ike" if ike else "--rekey-child", "--name", name)

    def _program(self, path: str) -> list[str]:
        return ["chroot", str(ROOT), f"/{path}"]
