"""The configuration changes in the middle of a negotiation: what comes to stand is what is wanted now."""

from dataclasses import replace

from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from tests.hostile.rogue import Rogue, called, proving
from tests.hostile.scene import Scene
from tests.simulation.network import psk

OTHER = (Selector.parse("10.67.0.0/24"),)


def change(scene: Scene) -> None:
    """Another network for the rogue's child."""
    was = scene.engine.core.snapshot
    peer = was.peers["rogue"]
    children = tuple(replace(child, remote=OTHER) for child in peer.children)
    peers = [replace(peer, children=children), was.peers["honest"]]
    scene.network.apply(scene.gate, Snapshot.build(2, peers, [psk()], was.settings))


def stale(scene: Scene) -> list[str]:
    """The networks of installed children that are not configured any more."""
    children = [child for sa in scene.engine.ike_sas() for child in sa.children.values()]
    return [str(one) for child in children for one in child.remote if one not in OTHER and "10.66" in str(one)]


def test_a_call_that_has_begun_is_not_finished_with_what_was_configured() -> None:
    scene = Scene()
    rogue = Rogue(scene, False)
    scene.connect()
    change(scene)
    if any(sa.spi_i == rogue.heard()[0].spi_i for sa in scene.engine.ike_sas()):
        rogue.answer_call()
        rogue.respond(*rogue.credentials(), *rogue.child())
    assert stale(scene) == []
    scene.assert_serves()


def test_a_proof_that_is_under_way_does_not_bring_a_child_of_before() -> None:
    scene = Scene()
    rogue = proving(scene)
    change(scene)
    if rogue.sa is not None:
        rogue.respond(*rogue.credentials(), *rogue.child())
    assert stale(scene) == []
    scene.assert_serves()
    scene.assert_forgets()


def test_a_child_that_is_being_made_is_not_one_of_before() -> None:
    scene = Scene()
    rogue = called(scene)
    scene.do(lambda engine, now: engine.rekey("rogue", "net", now)[1])
    change(scene)
    rogue.respond(*rogue.new_child(b"\0\7\7\7"))
    for _ in range(6):
        if not any(not m.response for m in rogue.heard()[-1:]):
            break
        rogue.respond()
    scene.network.run(120)
    assert stale(scene) == []
    scene.assert_serves()
    scene.assert_forgets()
