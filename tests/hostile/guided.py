"""Fuzzing guided by coverage, with atheris, where there is one: for x86-64, up to Python 3.13.

`FUZZ_SECONDS=600 python -m tests.hostile.guided [target …]`: each target has its share of the time in a process of its
own, which ends at the first failure and leaves a file with the octets that show it. Without atheris
`python -m tests.hostile.guided again TARGET FILE` shows it once more.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = ("codec", "inside", "engine", "parsers")
_MOST_OCTETS = 4096
_PATIENCE = 300  # seconds that one input may take, on a machine that does much else


def fuzz(target: str, seconds: float) -> None:
    """Fuzz in this process, which atheris ends: with 0 when the time is over, with another status for a failure."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gateway"], enable_loader_override=False):
        targets = importlib.import_module("tests.hostile.targets")
    with tempfile.TemporaryDirectory(prefix="guided-") as folder:
        for number, octets in enumerate(targets.beginnings(target)):
            (Path(folder) / str(number)).write_bytes(octets[:_MOST_OCTETS])
        words = [f"-max_total_time={seconds:.0f}", f"-max_len={_MOST_OCTETS}", f"-timeout={_PATIENCE}"]
        words += [f"-artifact_prefix={target}-", "-print_final_stats=1", folder]
        atheris.Setup([sys.argv[0], *words], targets.TARGETS[target])
        atheris.Fuzz()


def again(target: str, path: str) -> None:
    """Do once what these octets do."""
    importlib.import_module("tests.hostile.targets").TARGETS[target](Path(path).read_bytes())


def main(words: list[str]) -> int:
    match words:
        case ["again", target, path]:
            again(target, path)
            return 0
        case ["one", target, seconds]:
            fuzz(target, float(seconds))
            return 0
    if importlib.util.find_spec("atheris") is None:
        print("there is no atheris for this machine's Python: nothing is fuzzed by coverage")  # noqa: T201
        return 0
    names = words or TARGETS
    seconds = float(os.environ.get("FUZZ_SECONDS", "60")) / len(names)
    failed = 0
    for name in names:
        command = [sys.executable, "-m", "tests.hostile.guided", "one", name, str(seconds)]
        failed |= subprocess.run(command, check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
