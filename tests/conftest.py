"""What all tests share: the markers `requires` and `in_kernel`, a network, and a loud summary of skips."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.lab.in_kernel import pytest_addoption, pytest_configure, pytest_itemcollected
from tests.lab.namespaces import Network
from tests.lab.userspace import first_missing

__all__ = ["pytest_addoption", "pytest_configure", "pytest_itemcollected"]

settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

LAB_GROUPS = ("kernel", "interop", "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        if why := first_missing(*marker.args):
            pytest.skip(why)


@pytest.fixture
def network() -> Iterator[Network]:
    """Namespaces for one test; the test needs `requires("root", "netns")`."""
    with Network() as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each lab group that was not tested, and why: a skip must not look like a pass."""
    skipped: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        group = next((name for name in LAB_GROUPS if name in report.keywords), "other")
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped.setdefault(group, Counter())[reason.removeprefix("Skipped: ")] += 1
    if not skipped:
        return
    terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    for group in (*LAB_GROUPS, "other"):
        for reason, count in skipped.get(group, Counter()).most_common():
            terminalreporter.write_line(f"{group}: {count} skipped: {reason}", red=True)
