"""Our gateway and strongSwan in two namespaces: over the data planes in userspace, and in a guest over the kernel's."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.planes import CHARON_PLUGINS, KERNEL, USERSPACE
from tests.interop.tap import Tap
from tests.interop.tunnels import Pair
from tests.lab.appliance import Appliance
from tests.lab.charon import Charon
from tests.lab.namespaces import Network, two_sites

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of a test that failed nothing stays up at the ends that it shares with others: they would fail of that alone."""
    yield
    if request.node.stash.get(_FAILED, False):
        for shared in request.node.funcargs.values():
            ends = getattr(shared, "pair", shared)
            if hasattr(ends, "take_all_down"):
                ends.take_all_down()


@pytest.fixture(scope="module", params=[USERSPACE, KERNEL])
def plane(request: pytest.FixtureRequest) -> str:
    """The data plane of both ends: "userspace", or "kernel" in a guest."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def pair(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One gateway and one charon for all tests of a file: what a test brings up, it takes down."""
    with ExitStack() as stack:
        yield start_pair(stack, tmp_path_factory.mktemp("pair"), plane)


@pytest.fixture
def fresh_pair(plane: str, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """A gateway and a charon for one test alone, charon with further `settings` (lines of its section)."""
    with ExitStack() as stack:

        def start(settings: str = "") -> Pair:
            return start_pair(stack, tmp_path, plane, settings)

        yield start


def start_pair(
    stack: ExitStack,
    folder: Path,
    plane: str,
    settings: str = "",
    *,
    charon: type[Charon] = Charon,
    plugins: str = "",
    ours: Mapping[str, str] | None = None,
) -> Pair:
    """Both ends in a network of their own; `charon` may be another strongSwan with its own kernel `plugins`.

    `ours` are further IKEGATE_… variables of our gateway.
    """
    network = stack.enter_context(Network())
    left, right = two_sites(network)
    (folder / "charon").mkdir()
    peer = charon(right, folder / "charon", plugins or CHARON_PLUGINS[plane], settings=settings)
    gateway = Appliance(left, folder / "gateway", plane, settings=ours)
    stack.enter_context(peer)
    stack.enter_context(gateway)
    tap = Tap(left, "to-right")
    stack.callback(tap.close)
    return Pair(left, right, gateway, peer, tap)
