"""Changed EAP packets behind the real keys of an IKE SA, in both roles: whatever comes, the gateway goes on serving."""

import random

import pytest

from gateway.crypto.signatures import PrivateKey
from gateway.ike.authentication.eap import peer as eap_peer
from gateway.ike.authentication.eap.gate import Proven
from gateway.ike.authentication.eap.talk import PeerTalk
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.wire import payloads as wire
from gateway.wire.numbers import EapCode, NotifyType
from tests.hostile.rogue import AUTH, Inner, Rogue, proving
from tests.hostile.scene import Scene
from tests.ike.eap_lab import Server, account, again, carry, step
from tests.ike.test_eap_methods import ANNA, GATE, ROOT, tls_account, tls_server

ALONE = wire.Notify(0, b"", NotifyType.EAP_ONLY_AUTHENTICATION, b"")
_GATE = Credential("gate", PrivateKey(GATE.key), (GATE.der,))
_ANNA = Credential("anna", PrivateKey(ANNA.key), (ANNA.der,))


def changed(chance: random.Random, packet: wire.EAP) -> bytes:
    """The packet's octets, seldom as they were."""
    octets = bytearray(packet.octets())
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        at = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(5):
            case 0 if octets:
                octets[at] ^= 1 << chance.randrange(8)
            case 1:
                del octets[at:]
            case 2:
                octets[at:at] = chance.randbytes(chance.randrange(30))
            case 3:
                octets[at : at + 2] = chance.choice((b"\0\0", b"\xff\xff", b"\0\1", b"\0\4"))
            case _ if len(octets) > 4:
                octets[4:] = chance.randbytes(chance.randrange(60))
    if chance.random() < 0.7 and len(octets) >= 4:  # else most would fall at the first check
        octets[2:4] = len(octets).to_bytes(2)
    return bytes(octets)


def scene_of(kind: str, *, server: bool) -> Scene:
    """The gateway asks the rogue for EAP, or is to prove itself by it."""
    if server:
        mine = LocalAuth(Method.EAP, credential="gate") if kind == "tls" else LocalAuth()
        scene = Scene(them="%any", local_auth=(mine,), remote_auth=(RemoteAuth(Method.EAP, eap_methods=(kind,)),))
    else:
        credential = "anna" if kind == "tls" else ""
        auth = LocalAuth(Method.EAP, credential, "anna", b"open sesame", eap_methods=(kind,))
        scene = Scene(local_auth=(auth,))
    old = scene.engine.core.snapshot
    keys = {"credentials": [_GATE, _ANNA], "authorities": [Authority("root", ROOT.der)]}
    users = [User("anna", b"open sesame")]
    scene.network.apply(scene.gate, Snapshot.build(2, old.peers.values(), old.psks, old.settings, users=users, **keys))
    return scene


def as_peer(chance: random.Random, rogue: Rogue, kind: str) -> Proven | None:
    """An honest peer's EAP, changed on its way to the gateway."""
    first = rogue.request(AUTH, rogue.id_payload(), *([ALONE] if kind == "tls" else []), *rogue.child())
    assert first is not None
    who = tls_account() if kind == "tls" else account(methods=(26 if kind == "mschapv2" else 4,))
    script = eap_peer.prove(PeerTalk(carry), who, first.one(wire.EAP))
    packet = step(script, None)
    while isinstance(packet, wire.EAP):
        response = rogue.ask(rogue.seal(AUTH, Inner(48, b"\0\0" + _sized(changed(chance, packet)))))
        eap = response.maybe(wire.EAP) if response else None
        if eap is None or rogue.sa is None:
            script.close()
            return None
        packet = step(script, again(eap))
    return packet if isinstance(packet, Proven) else None


def _sized(octets: bytes) -> bytes:
    return (4 + len(octets)).to_bytes(2) + octets


@pytest.mark.parametrize("kind", ["mschapv2", "md5", "tls"])
def test_a_changed_peer_never_harms_the_server(kind):
    scene = scene_of(kind, server=True)
    for seed in range(60):
        chance = random.Random(f"{kind} {seed}")
        rogue = Rogue(scene, True, seed=seed)
        rogue.call()
        as_peer(chance, rogue, kind)
        assert scene.engine.core.established("rogue") is None  # it has not sent AUTH
        scene.network.run(200)
    attempts = scene.engine.core.attempts.latest(100)
    assert {"eap-protocol", "syntax"} <= {attempt.cause for attempt in attempts}  # each depth was reached
    for attempt in attempts:
        assert attempt.reason.isprintable() and attempt.eap_identity.isprintable()
    scene.assert_serves()


@pytest.mark.parametrize("kind", ["mschapv2", "md5", "tls"])
def test_a_changed_server_never_harms_the_peer(kind):
    scene = scene_of(kind, server=False)
    for seed in range(40):
        chance = random.Random(f"{kind} {seed}")
        server = tls_server() if kind == "tls" else Server(methods=(kind,))
        rogue = proving(scene)
        script = server.conversation()
        packet = step(script, None)
        first = True
        while isinstance(packet, wire.EAP):
            inside = Inner(48, b"\0\0" + _sized(changed(chance, packet)))
            if first:
                rogue.respond(rogue.id_payload(), rogue.proof(), packet)
            else:
                rogue.respond(octets=inside)
            first, asked = False, [one for one in rogue.heard() if not one.response and one.exchange == AUTH]
            eap = asked[-1].maybe(wire.EAP) if asked else None
            if eap is None or rogue.sa is None or eap.code != EapCode.RESPONSE or eap.identifier != packet.identifier:
                break
            packet = step(script, again(eap))
        script.close()
        assert scene.engine.core.established("rogue") is None
        scene.network.run(200)
        scene.do(lambda engine, now: engine.disconnect("rogue", None, now)[1])
        scene.network.run(200)
    attempts = [attempt for attempt in scene.engine.core.attempts.latest(100) if attempt.peer == "rogue"]
    assert {"eap-protocol", "peer-error"} <= {attempt.cause for attempt in attempts}
    scene.assert_serves()
