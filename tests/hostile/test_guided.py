"""The targets of guided fuzzing: what leads into their depth does no harm, and they decide by their octets alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.parsers import PARSERS, seeds
from tests.hostile.targets import TARGETS, Exhausted, Octets, beginnings

ROOT = Path(__file__).parents[2]
EVERY = {"codec": 1, "parsers": 1, "inside": 8, "engine": 10}


@pytest.mark.parametrize("target", TARGETS)
def test_what_leads_into_the_depth_does_no_harm(target: str) -> None:
    for octets in list(beginnings(target))[:: EVERY[target]]:
        TARGETS[target](octets)


def test_every_parser_has_something_to_begin_with() -> None:
    assert {octets[0] for octets in seeds()} == set(range(len(PARSERS)))


def test_what_is_decided_comes_from_the_octets() -> None:
    assert Octets(b"\1\2\3").take(2) == b"\1\2"
    first, second = (Octets(bytes(range(100, 200))) for _ in range(2))
    assert [first.randrange(7) for _ in range(20)] == [second.randrange(7) for _ in range(20)]
    assert Octets(bytes(50)).choice("abc") == "a"
    with pytest.raises(Exhausted):
        Octets(b"\1").random()


@pytest.mark.parametrize("target", ["codec", "parsers"])
def test_coverage_guides_from_there(target: str, tmp_path: Path) -> None:
    """A few seconds of it: `make fuzz` goes on for as long as one likes."""
    pytest.importorskip("atheris", reason="there is no atheris for this Python")
    words = [sys.executable, "-m", "tests.hostile.guided", "one", target, "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "stat::new_units_added" in done.stderr
    assert list(tmp_path.iterdir()) == [], "no octets that show a failure"
