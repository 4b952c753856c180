"""A peer with a right key that wants ever more: there is an end to what it can make the gateway keep."""

from gateway.wire.numbers import NotifyType
from tests.hostile.rogue import CREATE, Rogue, answered, errors
from tests.hostile.scene import Scene

NO_MORE = [NotifyType.NO_ADDITIONAL_SAS]


def test_there_is_an_end_to_children() -> None:
    """RFC 7296 1.3: who has enough answers NO_ADDITIONAL_SAS, and what stands goes on."""
    scene = Scene()
    rogue = answered(scene)
    answers = []
    for number in range(600):
        answers.append(errors(rogue.request(CREATE, *rogue.new_child(bytes((0, 5, number >> 8, number & 255))))))
        if answers[-1] == NO_MORE:
            break
    assert answers[-1] == NO_MORE
    assert rogue.sa is not None and len(rogue.sa.children) < 600
    scene.assert_serves()
    scene.assert_forgets()


def test_rekeys_without_deletes_leave_few_sas() -> None:
    scene = Scene()
    rogue = answered(scene)
    for _ in range(100):
        rogue = rogue.rekey_sa()
    assert scene.books()["sas"] <= 20
    assert rogue.sa is not None and len(rogue.sa.children) == 1
    scene.assert_serves()
    scene.assert_forgets()


def test_calls_without_end_leave_few_sas() -> None:
    """Each takes the place of the last; that the rogue answers no delete must not keep them all."""
    scene = Scene()
    for seed in range(200):
        rogue = Rogue(scene, True, seed=seed)
        rogue.call()
        assert rogue.authenticate() is not None
    assert scene.books()["sas"] <= 20
    scene.assert_serves()
    scene.assert_forgets()
