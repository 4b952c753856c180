"""The pytest plugin that runs tests marked `in_kernel` inside a guest kernel, one boot for a file.

Outside, the first marked test of a file boots the guest with a pytest of its own for all the marked tests that were
selected from that file; each later one finds its result ready. Inside (IKEGATE_IN_KERNEL=1) the same tests run as plain
tests, fixtures and all, and every report is written to a file that the outer pytest replays.
"""

import json
import os
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
        selection = json.loads((folder / SELECTION).read_text())
        self.places = {nodeid: place for place, nodeid in enumerate(selection)}
        # O_SYNC: what is reported must be on the machine before the next test can bring this kernel down.
        self.reports = os.open(folder / REPORTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.places), key=lambda item: self.places[item.nodeid]
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        os.write(self.reports, f"{json.dumps(plain)}\n".encode())

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
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what cannot run inside, before this machine is asked for what only the guest needs to have."""
        if item.get_closest_marker("in_kernel"):
            pytest.skip(kernel_available())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not item.get_closest_marker("in_kernel"):
            return None
        if kernel_available():
            return None  # the ordinary way comes to our pytest_runtest_setup
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if item.path not in self.booted:
            self.booted.add(item.path)
            self.run_file(item)
        reports = self.results.pop(item.nodeid, [])
        if not any(report.when == "teardown" for report in reports):
            reports.append(self.lost(item))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # A test before this one left up what the two seemed to share (a module, its fixtures). No hook does just this:
        # pytest_runtest_teardown would also end what other plugins begin in a set-up, which took place in the guest.
        item.session._setupstate.teardown_exact(nextitem)
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
            if isinstance(report.longrepr, list):
                report.longrepr = tuple(report.longrepr)  # where and why it was skipped; JSON knows no tuples
            self.results.setdefault(report.nodeid, []).append(report)

    def lost(self, item: pytest.Item) -> pytest.TestReport:
        """The failure of a test that the guest did not bring to its end."""
        text = f"no result from the guest kernel: {self.failures.get(item.path, 'it had ended')}"
        return pytest.TestReport(item.nodeid, item.location, {"kernel": 1, "in_kernel": 1}, "failed", text, "call")


def _pytest_command(config: pytest.Config) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--color=no"]
    command += [f"--rootdir={config.rootpath}", *(["-c", str(config.inipath)] if config.inipath else [])]
    if config.pluginmanager.hasplugin("randomly"):
        return [*command, f"--randomly-seed={config.getoption('randomly_seed')}"]
    return [*command, "-p", "no:randomly"]


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
