"""No key can be read from anything that the engine says or shows of itself, whatever was done to it."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import fields

import pytest

from gateway.crypto.keys import IkeKeys
from gateway.ike.effects import KeysMade
from gateway.ike.plane import EspState
from gateway.policy.peers import Psk
from gateway.policy.ppks import Ppk
from tests.hostile.fuzz import Story, well_formed
from tests.hostile.rogue import STATES
from tests.hostile.scene import Scene
from tests.simulation.network import SECRET

CORPUS = well_formed()
ENOUGH = 10
"""More secrets than so many a story shows; how soon is chance."""
ATOMS = (str, bytes, int, float, bool, type(None))


def parts(thing: object) -> Iterator[object]:
    """What an object is made of."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    else:
        for kind in type(thing).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                yield getattr(thing, name, None)
        yield from getattr(thing, "__dict__", {}).values()


def reachable(*roots: object) -> list[object]:
    """Every object of the gateway's that can be reached, and each container on the way."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        ours = type(thing).__module__.startswith("gateway")
        if id(thing) in seen or isinstance(thing, ATOMS) or callable(thing):
            continue
        if ours or isinstance(thing, Mapping | list | tuple | set | frozenset):
            seen[id(thing)] = thing
            waiting += parts(thing)
    return list(seen.values())


def secrets_of(things: list[object]) -> set[bytes]:
    """All keys among them."""
    found = {SECRET}
    for thing in things:
        if isinstance(thing, IkeKeys):
            found |= {getattr(thing, field.name) for field in fields(thing)}
        elif isinstance(thing, EspState):
            found |= {thing.encr_key, thing.integ_key}
        elif isinstance(thing, Psk | Ppk):
            found.add(thing.secret)
    return {octets for octets in found if len(octets) >= 16}


def shapes(secret: bytes) -> list[str]:
    """A part of a secret in each form in which it could be written."""
    part = secret[:12]
    return [part.hex(), part.hex(" "), repr(part)[2:-1], base64.b64encode(part).decode(), part.decode("latin-1")]


def assert_silent(texts: list[str], secrets: set[bytes]) -> None:
    whole = "\n".join(texts)
    lowered = whole.lower()
    for secret in secrets:
        for shape in shapes(secret):
            assert shape not in whole
            assert shape.lower() not in lowered


def texts_of(things: list[object], scene: Scene) -> list[str]:
    ours = [thing for thing in things if type(thing).__module__.startswith("gateway")]
    shown = [text for thing in ours for text in (repr(thing), str(thing), f"{thing}")]
    shown += [repr(event) for event in scene.gate.events] + [repr(made) for made in scene.gate.keys]
    return [*shown, repr(scene.engine.core.counters), repr(scene.engine.core.timers._when)]


@pytest.mark.parametrize("state", STATES)
def test_no_key_shows_in_any_state(state: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    things = reachable(scene.engine.core, scene.gate.plane)
    assert any(isinstance(thing, IkeKeys) for thing in things) or state == "closed"
    secrets = secrets_of([*things, *reachable(rogue.keys)])
    assert len(secrets) > 6
    assert_silent(texts_of(things, scene), secrets)


@pytest.mark.parametrize("seed", range(900, 912))
def test_no_key_shows_after_any_story(seed: int) -> None:
    story = Story(seed, CORPUS)
    scene = story.scene
    secrets: set[bytes] = set()
    for number in range(400):
        if number >= 40 and len(secrets) > ENOUGH:
            break
        story.chance.choice(story.steps)()
        secrets |= secrets_of(reachable(scene.engine.core.sas, scene.gate.plane, scene.gate.keys))
    story.peace()
    scene.assert_serves()
    things = reachable(scene.engine.core, scene.gate.plane)
    secrets |= secrets_of(things)
    assert len(things) > 100
    assert len(secrets) > ENOUGH
    assert_silent(texts_of(things, scene), secrets)


def test_what_the_key_log_is_given_does_not_show_itself() -> None:
    scene = Scene()
    STATES["answered"](scene)
    made = [one for one in scene.gate.keys if isinstance(one, KeysMade)]
    assert any(one.ike for one in made)
    assert any(one.states for one in made)
    assert_silent([repr(one) for one in made], secrets_of(reachable(made)))


def test_keys_that_are_done_with_are_let_go() -> None:
    """SK_pi and SK_pr go when both ends are proven, all keys with the SA (RFC 7296 2.4, 2.12)."""
    scene = Scene()
    rogue = STATES["answered"](scene)
    assert rogue.keys is not None and rogue.sa is not None and rogue.sa.keys is not None
    assert (rogue.sa.keys.pi, rogue.sa.keys.pr) == (b"", b"")
    scene.do(lambda engine, now: engine.terminate(rogue.sa.id if rogue.sa else 0, now))
    scene.network.run(200)
    held = secrets_of(reachable(scene.engine.core, scene.gate.plane))
    assert not held & {rogue.keys.d, rogue.keys.ei, rogue.keys.er, rogue.keys.pi, rogue.keys.pr}
