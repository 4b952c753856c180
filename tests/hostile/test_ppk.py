"""What a peer that holds the real keys can say of post-quantum pre-shared keys: refused, and nothing kept."""

from dataclasses import replace

import pytest

from gateway.crypto.keys import ppk_keys
from gateway.ike.sa import Lifecycle
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType
from tests.hostile.abuses import HOSTILE_TEXT
from tests.hostile.rogue import Rogue, errors
from tests.hostile.scene import PPK, Scene
from tests.simulation.network import psk

KEY = PPK
USE = wire.Notify(0, b"", NotifyType.USE_PPK, b"")


def scene(*, required: bool = False) -> Scene:
    made = Scene()
    peers = [
        replace(one, ppks=("shared",), ppk_required=required) if one.name == "rogue" else one
        for one in made.engine.core.snapshot.peers.values()
    ]
    made.network.apply(made.gate, Snapshot.build(2, peers, [psk()], ppks=[KEY]))
    made.before = made.books()
    return made


def half_open(made: Scene, *more: wire.Payload) -> Rogue:
    rogue = Rogue(made, True)
    (answer,) = rogue.call(None, *more)
    assert (answer.notify(NotifyType.USE_PPK) is not None) is bool(more)
    return rogue


def named(data: bytes) -> wire.Notify:
    return wire.Notify(0, b"", NotifyType.PPK_IDENTITY, data)


def plain(rogue: Rogue) -> wire.Notify:
    """N(NO_PPK_AUTH) with a right proof."""
    return wire.Notify(0, b"", NotifyType.NO_PPK_AUTH, rogue.proof().data)


def mixed(rogue: Rogue) -> wire.AUTH:
    """The right proof under the key; the rogue has it from now on."""
    assert rogue.chosen is not None and rogue.chosen.prf is not None and rogue.keys is not None
    rogue.keys = ppk_keys(rogue.chosen.prf, KEY.secret, rogue.keys)
    return rogue.proof()


def test_an_honest_one_is_served() -> None:
    made = scene(required=True)
    rogue = half_open(made, USE)
    response = rogue.request(35, rogue.id_payload(), mixed(rogue), *rogue.child(), named(KEY.ppk_id))
    assert response is not None and response.notify(NotifyType.PPK_IDENTITY)
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED


@pytest.mark.parametrize(
    "data", [b"", b"\2", KEY.ppk_id[1:], b"\1" + KEY.ppk_id[1:], KEY.ppk_id + b"\0", HOSTILE_TEXT, bytes(60_000)]
)
@pytest.mark.parametrize("way_out", [False, True])
def test_an_unknown_identity_needs_a_way_out(data: bytes, way_out: bool) -> None:
    for required in (False, True):
        made = scene(required=required)
        rogue = half_open(made, USE)
        more = [named(data), plain(rogue)] if way_out else [named(data)]
        response = rogue.request(35, rogue.id_payload(), rogue.proof(), *rogue.child(), *more)
        assert response is not None
        if way_out and not required:
            assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
            assert not response.notify(NotifyType.PPK_IDENTITY)
            continue
        assert errors(response) == [NotifyType.AUTHENTICATION_FAILED]
        attempt = made.engine.core.attempts.latest(1)[0]
        assert attempt.cause == "ppk"
        assert "\x1b" not in attempt.reason
        made.assert_serves()


def test_the_way_out_is_no_way_around_the_proof() -> None:
    made = scene()
    rogue = half_open(made, USE)
    wrong = wire.Notify(0, b"", NotifyType.NO_PPK_AUTH, bytes(32))
    response = rogue.request(35, rogue.id_payload(), rogue.proof(), *rogue.child(), named(b"\2other"), wrong)
    assert response is not None and errors(response) == [NotifyType.AUTHENTICATION_FAILED]
    assert made.engine.core.attempts.latest(1)[0].cause == "wrong-key"


def test_a_proof_without_the_key_that_was_named_is_refused() -> None:
    made = scene()
    rogue = half_open(made, USE)
    response = rogue.request(35, rogue.id_payload(), rogue.proof(), *rogue.child(), named(KEY.ppk_id), plain(rogue))
    assert response is not None and errors(response) == [NotifyType.AUTHENTICATION_FAILED]
    assert rogue.sa is None


@pytest.mark.parametrize("required", [False, True])
def test_who_said_so_must_name_one(required: bool) -> None:
    made = scene(required=required)
    rogue = half_open(made, USE)
    response = rogue.authenticate(plain(rogue))
    assert response is not None and errors(response) == [NotifyType.AUTHENTICATION_FAILED]
    made.assert_serves()


def test_who_did_not_say_so_is_served_only_where_none_is_required() -> None:
    made = scene()
    rogue = half_open(made)
    assert rogue.authenticate(named(KEY.ppk_id)) is not None
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    made = scene(required=True)
    rogue = half_open(made)
    response = rogue.authenticate(named(KEY.ppk_id), plain(rogue))
    assert response is not None and errors(response) == [NotifyType.AUTHENTICATION_FAILED]
    made.assert_forgets()
