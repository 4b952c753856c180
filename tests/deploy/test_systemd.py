"""The service unit: systemd understands every line of it, and it gives away no more than the gateway needs."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "ikegate.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze (Debian: systemd)")


def test_every_line_is_understood(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name  # systemd wants the program to be there
    unit.write_text(UNIT.read_text().replace("/opt/ikegate/bin/ikegate", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []


def test_the_exposure_is_small() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
