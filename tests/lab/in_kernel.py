"""The pytest plugin that runs tests marked `in_kernel` inside a guest kernel, one boot for a file.

Outside, the first marked test of a file boots the guest with a pytest of its own for all the marked tests that were
selected from that file; each later one finds its result ready. Inside (IKEGATE_IN_KERNEL=1) the same tests run as plain
tests, fixtures and all, and every report is written to a file that the outer pytest replays.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kernel import GuestDiedError, inside_kernel, kernel_available, run_in_kernel

in_kernel = pytest.mark.in_kernel

BOOT = 60.0  # seconds for the boot and for importing the tests in the guest
SELECTION, REPORTS = "selection.json", "reports.jsonl"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-kernel-folder", help="inside a guest: the folder of the selection and the reports")


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("in_kernel"):
        item.add_marker("kernel")  # so that `-m kernel` and the summary of skips know it


class Inside:
    """In the guest: runs what the outer pytest selected, and writes down every report."""

    def __init__(self, folder: Path) -> None:
        self.selection = set(json.loads((folder / SELECTION).read_text()))
        self.reports = (folder / REPORTS).open("a", buffering=1)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.selection]

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.reports.write(json.dumps(plain) + "\n")

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config


class Outside:
    """On the machine: boots one guest for each file with marked tests and replays what happened in it."""

    def __init__(self) -> None:
        self.results: dict[str, list[pytest.TestReport]] = {}
        self.failures: dict[Path, str] = {}
        self.booted: set[Path] = set()

    def pytest_timeout_set_timer(self, item: pytest.Item) -> bool | None:
        """The guest keeps each test's time; the first of a file waits for all of them here."""
        return True if item.get_closest_marker("in_kernel") else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not item.get_closest_marker("in_kernel"):
            return None
        if why := kernel_available():
            item.add_marker(pytest.mark.skip(reason=why))
            return None  # the ordinary way skips it, before any fixture
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if item.path not in self.booted:
            self.booted.add(item.path)
            self.run_file(item)
        for report in self.results.pop(item.nodeid, None) or [self.lost(item)]:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def run_file(self, first: pytest.Item) -> None:
        """Boot a guest for all selected tests of a file and collect their reports."""
        config = first.config
        items = [
            item for item in first.session.items if item.path == first.path and item.get_closest_marker("in_kernel")
        ]
        with tempfile.TemporaryDirectory(prefix="in-kernel-") as name:
            folder = Path(name)
            (folder / SELECTION).write_text(json.dumps([item.nodeid for item in items]))
            try:
                done = run_in_kernel(
                    [*_pytest_command(config), f"--in-kernel-folder={folder}", str(first.path)],
                    timeout=BOOT + sum(map(_seconds, items)),
                    writable=[folder],
                    cwd=config.rootpath,
                )
                self.failures[first.path] = f"status {done.returncode}\n{done.stdout}{done.stderr}"
            except GuestDiedError as failure:
                self.failures[first.path] = str(failure)
            except subprocess.TimeoutExpired as failure:
                self.failures[first.path] = f"{failure}\n{failure.stdout!s}"
            self.read(config, folder / REPORTS)

    def read(self, config: pytest.Config, path: Path) -> None:
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                plain: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # cut off by the guest's death; `lost` reports the test
            report = config.hook.pytest_report_from_serializable(config=config, data=plain)
            self.results.setdefault(report.nodeid, []).append(report)

    def lost(self, item: pytest.Item) -> pytest.TestReport:
        """The failure of a test that the guest gave no report for."""
        text = f"no result from the guest kernel: {self.failures.get(item.path, 'it had ended')}"
        return pytest.TestReport(item.nodeid, item.location, {"kernel": 1, "in_kernel": 1}, "failed", text, "call")


def _pytest_command(config: pytest.Config) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--color=no"]
    if config.pluginmanager.hasplugin("randomly"):
        command += [f"--randomly-seed={config.getoption('randomly_seed')}", "--randomly-dont-reorganize"]
    return command


def _seconds(item: pytest.Item) -> float:
    """The time that pytest-timeout gives a test."""
    marker = item.get_closest_marker("timeout")
    if marker:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    return float(item.config.getini("timeout") or 300)


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("in_kernel_folder")
    if folder:
        config.pluginmanager.register(Inside(Path(folder)), "in-kernel-inside")
    elif not inside_kernel():
        config.pluginmanager.register(Outside(), "in-kernel-outside")
