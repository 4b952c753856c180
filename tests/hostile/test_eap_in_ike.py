"""EAP inside IKE_AUTH by a rogue that holds the real keys: skipped, cut short, never ended, or made with other keys."""

import pytest

from gateway.crypto.keys import psk_auth, signed_octets
from gateway.ike.authentication.eap import peer as eap_peer
from gateway.ike.authentication.eap.gate import Proven
from gateway.ike.authentication.eap.talk import MAX_ROUNDS, PeerTalk
from gateway.policy.authentication import LocalAuth, Method, RemoteAuth
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import AuthMethod, EapCode, EapType, NotifyType
from tests.hostile.rogue import AUTH, Inner, Rogue, called, errors, half_open, proving
from tests.hostile.scene import Scene
from tests.ike.eap_lab import account, carry, step

USER = User("anna", b"open sesame")


def server_scene(**more: object) -> Scene:
    """The gateway asks the rogue for EAP."""
    scene = Scene(remote_auth=(RemoteAuth(Method.EAP, eap_methods=("mschapv2", "md5")),), them="%any", **more)
    return with_users(scene)


def with_users(scene: Scene) -> Scene:
    old = scene.engine.core.snapshot
    scene.network.apply(scene.gate, Snapshot.build(2, old.peers.values(), old.psks, old.settings, users=[USER]))
    return scene


def client_scene() -> Scene:
    """The gateway is to prove itself to the rogue by EAP."""
    auth = LocalAuth(Method.EAP, eap_identity="gate", eap_password=b"secret of the gate")
    return Scene(local_auth=(auth,))


def begin(rogue: Rogue) -> wire.EAP:
    """--> HDR, SK {IDi, SAi2, TSi, TSr}   <-- the first EAP request"""
    response = rogue.request(AUTH, rogue.id_payload(), *rogue.child())
    assert response is not None and response.maybe(wire.AUTH) is not None
    return response.one(wire.EAP)


def speak(rogue: Rogue, password: bytes = b"open sesame", methods: tuple[int, ...] = (26,)) -> Proven | Exception:
    """Honest EAP to its end."""
    script = eap_peer.prove(PeerTalk(carry), account(b"anna", password, methods), begin(rogue))
    packet = step(script, None)
    while isinstance(packet, wire.EAP):
        response = rogue.request(AUTH, packet)
        assert response is not None
        packet = step(script, response.one(wire.EAP))
    return packet


def proof(rogue: Rogue, msk: bytes) -> wire.AUTH:
    assert rogue.chosen is not None and rogue.chosen.prf is not None and rogue.keys is not None
    ours, nonce = (rogue.init_request, rogue.nonce_r) if rogue.initiator else (rogue.init_response, rogue.nonce_i)
    key = rogue.keys.pi if rogue.initiator else rogue.keys.pr
    octets = signed_octets(ours, nonce, rogue.chosen.prf, key, rogue.id_payload().octets())
    return wire.AUTH(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, psk_auth(rogue.chosen.prf, msk or key, octets))


def assert_refused(scene: Scene, response: Message | None) -> None:
    assert response is not None
    eap = response.maybe(wire.EAP)
    assert errors(response) or (eap is not None and eap.code == EapCode.FAILURE)
    assert scene.engine.core.established("rogue") is None
    attempt = scene.engine.core.attempts.latest(1)[0]
    assert attempt.outcome == "failed" and attempt.reason and attempt.advice


def test_the_honest_way_opens_the_tunnel():
    """So that the refusals below are not of something else."""
    scene = server_scene()
    rogue = half_open(scene)
    proven = speak(rogue)
    assert isinstance(proven, Proven)
    response = rogue.request(AUTH, proof(rogue, proven.msk))
    assert response is not None and response.maybe(wire.SA) is not None
    sa = scene.engine.core.established("rogue")
    assert sa is not None and sa.eap_identity == "anna"


@pytest.mark.parametrize("after", [0, 1, 2])
def test_auth_before_the_end_of_eap_is_no_proof(after):
    """Whoever leaves EAP out, at any time, is not let in: not with the pre-shared key's AUTH either."""
    scene = server_scene()
    rogue = half_open(scene)
    script = eap_peer.prove(PeerTalk(carry), account(), begin(rogue))
    packet = step(script, None)
    for _ in range(after):
        assert isinstance(packet, wire.EAP)
        response = rogue.request(AUTH, packet)
        assert response is not None
        packet = step(script, response.one(wire.EAP))
    assert_refused(scene, rogue.request(AUTH, rogue.proof()))
    assert rogue.request(AUTH, rogue.proof()) is None
    scene.assert_serves()


@pytest.mark.parametrize("key", [b"", bytes(64), b"open sesame"])
def test_eap_of_another_is_of_no_use(key):
    """RFC 7296 2.16: who relays somebody's EAP does not have the key that comes of it."""
    scene = server_scene()
    rogue = half_open(scene)
    assert isinstance(speak(rogue), Proven)
    assert_refused(scene, rogue.request(AUTH, proof(rogue, key)))
    assert scene.engine.core.attempts.latest(1)[0].cause == "eap-key"


def test_a_key_instead_of_eap_is_refused():
    scene = server_scene()
    response = half_open(scene).authenticate()
    assert_refused(scene, response)
    assert scene.engine.core.attempts.latest(1)[0].cause == "auth-method"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\2",
        b"\2\1\0",
        b"\2\1\0\3",
        b"\2\1\0\4\1",
        b"\2\1\0\0\1anna",
        b"\2\1\xff\xff\1anna",
        b"\2\1\0\x0e\1anna",
    ],
)
def test_an_eap_packet_whose_length_lies_ends_it(octets):
    scene = server_scene()
    rogue = half_open(scene)
    begin(rogue)
    body = b"\0\0" + (4 + len(octets)).to_bytes(2) + octets
    assert_refused(scene, rogue.ask(rogue.seal(AUTH, Inner(48, body))))
    scene.assert_serves()


def test_eap_without_end_meets_an_end():
    """A peer that answers ever again, and proves nothing, holds a half-open SA for a bounded number of rounds."""
    scene = server_scene()
    rogue = half_open(scene)
    asked, rounds = begin(rogue), 0
    while asked.code == EapCode.REQUEST and rounds < 2 * MAX_ROUNDS:
        kind = asked.method or 0
        data = b"\1anna" if kind == EapType.IDENTITY else bytes((kind,)) + b"\4"
        response = rogue.request(AUTH, wire.EAP(EapCode.RESPONSE, asked.identifier, data))
        assert response is not None
        asked, rounds = response.one(wire.EAP), rounds + 1
    assert asked.code == EapCode.FAILURE and rounds < MAX_ROUNDS
    assert rogue.sa is None


def test_a_slow_eap_meets_an_end():
    scene = server_scene()
    rogue = half_open(scene)
    asked = begin(rogue)
    scene.network.run(20)
    response = rogue.request(AUTH, wire.EAP(EapCode.RESPONSE, asked.identifier, b"\1anna"))
    assert response is not None
    scene.network.run(40)
    assert rogue.sa is None


def test_many_guesses_at_a_time_are_counted_one_by_one():
    """Conversations side by side are no way around the lock: each guess is taken before it is judged."""
    scene = server_scene()
    rogues = [Rogue(scene, True, seed=number, identity=b"rogue%d" % number) for number in range(20)]
    waiting = []
    for rogue in rogues:
        rogue.call()
        script = eap_peer.prove(PeerTalk(carry), account(b"anna", b"guess"), begin(rogue))
        packet = step(script, None)
        for _ in range(1):
            response = rogue.request(AUTH, packet)
            packet = step(script, response.one(wire.EAP))
        waiting.append((rogue, packet))
    for rogue, packet in waiting:
        rogue.request(AUTH, packet)
    causes = [attempt.cause for attempt in scene.engine.core.attempts.latest(20)]
    assert causes.count("eap-password") == 5 and causes.count("eap-locked") == 15


def test_an_early_success_is_not_believed():
    """CVE-2021-45079: the gateway as client, and a server that says Success at once."""
    for first in (EapCode.SUCCESS, EapCode.REQUEST):
        scene = client_scene()
        rogue = proving(scene)
        data = b"" if first == EapCode.SUCCESS else b"\1"
        rogue.respond(rogue.id_payload(), rogue.proof(), wire.EAP(first, 1, data))
        if first == EapCode.REQUEST:
            rogue.respond(wire.EAP(EapCode.SUCCESS, 2))
        rogue.respond(proof(rogue, b""), *rogue.child()) if rogue.sa else None
        assert scene.engine.core.established("rogue") is None
        attempt = scene.engine.core.attempts.last("rogue")
        assert attempt is not None and attempt.cause == "eap-protocol" and "Success" in attempt.reason


def test_a_server_that_proves_nothing_gets_no_password():
    """EAP begins after the responder has proven itself, or not at all (RFC 7296 2.16)."""
    scene = client_scene()
    rogue = proving(scene)
    before = len(scene.network.carried)
    rogue.respond(rogue.id_payload(), wire.EAP(EapCode.REQUEST, 1, b"\1"))
    assert scene.engine.core.established("rogue") is None
    said = [message for message in rogue.heard(before) if message.maybe(wire.EAP)]
    assert not said


def test_nothing_is_left_of_what_failed():
    scene = server_scene()
    for seed in range(10):
        rogue = Rogue(scene, True, seed=seed)
        rogue.call()
        begin(rogue)
    scene.assert_serves()
    scene.assert_forgets()


def test_eap_in_an_sa_that_stands_is_nothing():
    scene = with_users(Scene())
    rogue = called(scene)
    assert rogue.request(AUTH, wire.EAP(EapCode.RESPONSE, 1, b"\1anna")) is None
    assert NotifyType.AUTHENTICATION_FAILED not in [n.type for m in rogue.heard() for n in m.all(wire.Notify)]
