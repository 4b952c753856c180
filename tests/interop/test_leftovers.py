"""What a test that failed left up does not fail the tests after it, which share its ends."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.interop.planes import userspace_only
from tests.interop.tunnels import Pair, Tunnel

REPOSITORY = Path(__file__).parents[2]


@userspace_only
def test_all_is_taken_down_at_both_ends_and_comes_up_again(pair: Pair) -> None:
    ours, theirs = Tunnel(name="by-us"), Tunnel(name="by-them", theirs={"children": {}})
    pair.load(ours, theirs)
    pair.up(ours, initiator="ours")
    pair.charon.request("initiate", {"ike": theirs.name, "timeout": "10000"})
    assert len(pair.theirs(ours)) == len(pair.theirs(theirs)) == len(pair.gateway.ike_sas(theirs.name)) == 1
    pair.take_all_down()
    assert not pair.charon.list_sas()
    assert not pair.gateway.status()["ike_sas"] and not pair.gateway.ask("states")
    pair.up(ours, initiator="theirs")
    assert pair.pings()
    pair.down(ours)


def test_it_is_done_after_a_test_that_failed_alone(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.interop.conftest import nothing_left, pytest_runtest_makereport\n"
    )
    (tmp_path / "test_inner.py").write_text(
        textwrap.dedent("""
            import pytest

            class Ends:
                taken_down = 0

                def take_all_down(self):
                    self.taken_down += 1

            class Site:
                pair = Ends()

            @pytest.fixture(scope="module")
            def ends(): return Ends()

            @pytest.fixture(scope="module")
            def site(): return Site()

            @pytest.fixture
            def broken(): raise OSError("no fixture")

            def test_good(ends, site): pass
            def test_bad(ends, site): assert ends.taken_down or site.pair.taken_down
            def test_after_it(ends, site): assert ends.taken_down == site.pair.taken_down == 1
            def test_error(ends, broken): pass
            def test_last(ends): assert ends.taken_down == 2
        """)
    )
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), f"--rootdir={tmp_path}"]
    options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "-ra", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110, env=environment
    )
    assert "1 failed, 3 passed, 1 error" in done.stdout, done.stdout
