"""What happens when somebody sets the machine's clock while the process runs."""

import os
import time

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.engine import Engine
from gateway.service.journal import Journal
from gateway.service.runner import Runner


@pytest.mark.parametrize("step", [-86_400.0, 3.0, 86_400.0])
def test_the_engine_hears_of_a_clock_that_was_set(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    plane = MemoryPlane()
    engine = Engine(plane, os.urandom, unix_offset=time.time() - time.monotonic())
    runner = Runner(engine, (0, 0), plane, Journal(), None)
    assert not runner.look_at_clock()
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + step)
    assert runner.look_at_clock()
    for unix in (engine.core.extensions.tickets.unix(runner.clock()), runner.clock() + runner.offset):
        assert unix == pytest.approx(clock() + step, abs=1.0)
    assert not runner.look_at_clock()
