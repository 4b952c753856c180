"""Deadlines by name."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.ike.timers import Timers

Action = tuple[str, int, float]


@given(
    st.lists(st.tuples(st.sampled_from(["set", "cancel", "due"]), st.integers(0, 5), st.floats(0, 100)), max_size=200)
)
def test_timers_behave_like_a_dictionary(actions: list[Action]) -> None:
    timers, model = Timers(), dict[int, float]()
    for what, key, when in actions:
        match what:
            case "set":
                timers.set(key, when)
                model[key] = when
            case "cancel":
                timers.cancel(key)
                model.pop(key, None)
            case _:
                earliest = min(model.values(), default=None)
                taken = timers.due(when)
                assert (taken is not None) is (earliest is not None and earliest <= when)
                if isinstance(taken, int):
                    assert model.pop(taken) == earliest
        assert timers.next() == min(model.values(), default=None)
        assert timers.when(key) == model.get(key)


def test_setting_the_same_key_for_ever_does_not_grow() -> None:
    timers = Timers()
    for when in range(10_000):
        timers.set("liveness", float(when))
    assert len(timers._heap) < 200
    assert timers.next() == 9999.0
