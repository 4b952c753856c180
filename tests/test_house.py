"""The shape of the house: floors, cycles, file sizes, declared dependencies, locks that are the same everywhere."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("gateway", "web")
LONGEST = 500

# Files that may be longer than LONGEST lines, each with its reason.
REASONS_TO_BE_LONG: dict[str, str] = {}

# What the lower floors must take as an argument; import-linter sees modules, these are attributes of allowed ones.
FORBIDDEN_ATTRIBUTES = {"os.urandom", "os.getrandom"} | {
    f"{prefix}{kind}.{call}"
    for prefix in ("", "datetime.")
    for kind in ("datetime", "date")
    for call in ("now", "today", "utcnow")
}
PURE_FLOORS = ("gateway.wire", "gateway.crypto", "gateway.policy", "gateway.ike")

# Declared in pyproject.toml though no module imports them by name: what needs them instead.
INDIRECT = {"python-multipart": "FastAPI reads forms with it"}
IMPORT_NAMES = {"argon2-cffi": "argon2", "pyopenssl": "OpenSSL", "pyyaml": "yaml"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its name."""
    found = {}
    for package in PRODUCT:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports anywhere in it; "from a import b" is a.b where that is a module."""
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module


def source_files() -> list[Path]:
    folders = (*PRODUCT, "migrations", "benchmarks", "tests", "deploy")
    return [
        path for folder in folders for ending in ("py", "js", "css") for path in (ROOT / folder).rglob(f"*.{ending}")
    ]


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in source_files()}
    assert len(lengths) > 30
    assert {name: length for name, length in lengths.items() if length > LONGEST}.keys() == REASONS_TO_BE_LONG.keys()


def test_import_contracts_hold() -> None:
    """In a process of its own: the linter sets logging up anew, which would silence the loggers of other tests."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    lint = [sys.executable, "-c", command, "--no-cache"]
    done = subprocess.run(lint, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_floor_is_under_contract() -> None:
    tool = project()["tool"]
    assert isinstance(tool, dict)
    contracts = tool["importlinter"]["contracts"]
    layered = {word for layer in contracts[0]["layers"] for word in re.findall(r"[\w.]+", layer)}
    floors = {
        ".".join(name.split(".")[:2]) if name.startswith("gateway.") else name.split(".")[0] for name in modules()
    }
    assert floors - layered <= {"gateway", "gateway.settings"}


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: {other for other in imports(name) if other in modules() and other != name} for name in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


def test_no_import_is_hidden_from_the_running_program() -> None:
    """An import under TYPE_CHECKING is one that would be a circle otherwise."""
    assert [name for name, path in modules().items() if "TYPE_CHECKING" in path.read_text()] == []


def test_the_lower_floors_ask_neither_clock_nor_chance() -> None:
    guilty = []
    for name, path in modules().items():
        if name.startswith(PURE_FLOORS):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
                    guilty.append(f"{name}:{node.lineno} {ast.unparse(node)}")
    assert guilty == []


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    roots = {other.split(".")[0] for name in modules() for other in imports(name)}
    used = roots - sys.stdlib_module_names - {*PRODUCT, "migrations"}
    declared = project()["project"]
    assert isinstance(declared, dict)
    names = {re.split(r"[^\w-]", entry)[0] for entry in declared["dependencies"]}
    names_of_imports = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names - INDIRECT.keys()}
    assert used - names_of_imports == set(), "imported, but not declared in pyproject.toml"
    assert names_of_imports - used == set(), "declared in pyproject.toml, but not imported"


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_locks_name_no_host_and_hash_everything(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    pins = re.findall(r"^[a-z0-9][^\s=]*==\S+.*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(pins) > 3
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []


def test_development_runs_on_the_very_releases_that_are_shipped() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    development = pins("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-build.lock"):
        assert pins(lock).items() <= development.items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_are_made_of_what_is_declared(lock: str) -> None:
    """What was written into one by hand says of nobody, or not of all, that they need it."""
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    ours = {block.partition("==")[0] for block in blocks if re.search(r"#.*\bikegate \(pyproject\.toml\)", block)}
    declared = project()["project"]
    assert isinstance(declared, dict)
    assert {re.split(r"[<>=;\[ ]", one)[0] for one in declared["dependencies"]} == ours


def test_the_wheel_holds_everything_that_runs(tmp_path: Path) -> None:
    """Templates, static files and revisions are found by path at run time, so no import misses them."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = [path for folder in (*PRODUCT, "migrations") for path in (ROOT / folder).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert wanted - held == set()
    assert [name for name in held if name.startswith(("tests/", "benchmarks/", "var/"))] == []
