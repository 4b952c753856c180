"""Two gateways, one of which proves itself by EAP: each method and failure, several rounds, EAP alone."""

from dataclasses import replace

import pytest
from cryptography import x509

from gateway.crypto import one_time
from gateway.ike.answering import script as honest
from gateway.ike.core import Core
from gateway.ike.effects import CodeUsed
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Authority, LocalAuth, RemoteAuth
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import EapCode, ExchangeType, NotifyType
from tests.ike.eap_lab import CLIENT, SERVER, issue, revocation_list
from tests.simulation.eap_scenes import (
    ANNA,
    CARD,
    CERTIFICATE,
    EAP,
    GATE,
    OTHER,
    PASSWORD,
    ROOT,
    assert_up,
    attempt,
    credential,
    established,
    established_any,
    scene,
)
from tests.simulation.network import Host, Network, Weather, psk


def test_a_password_opens_the_tunnel():
    network = Network(1)
    a, b = scene(network)
    network.run(5)
    assert_up(a, b)
    proofs = [taken.text for taken in attempt(b).steps if taken.step == "prove who we are"]
    assert proofs == ["anna proved itself by EAP-MSCHAPv2"]
    proofs = [taken.text for taken in attempt(a).steps if taken.step == "prove who we are"]
    assert proofs == ["right.example proved itself by its pre-shared key; we proved ourselves by EAP-MSCHAPv2"]


def test_the_tunnel_opens_through_bad_weather():
    for seed in range(20):
        network = Network(seed, Weather(loss=0.2, duplicate=0.3, jitter=0.5))
        a, b = scene(network)
        network.run(120)
        assert established(b).eap_identity == "anna", seed
        assert established(a).children, seed


def test_the_user_stays_who_he_is_after_a_rekey():
    network = Network(2)
    a, b = scene(network)
    network.run(5)
    _, effects = a.engine.rekey("right", None, network.now)
    network.perform(a, effects)
    network.run(100)
    assert established(b).eap_identity == "anna"


def test_md5_is_off_until_it_is_named_at_both_ends():
    for names in ((), ("md5",)):
        network = Network(3)
        auth = replace(PASSWORD, eap_methods=("md5",))
        a, b = scene(network, (auth,), (RemoteAuth(EAP, eap_methods=names),))
        network.run(5)
        if names:
            assert_up(a, b)
        else:
            assert not b.engine.ike_sas()
            assert attempt(b).cause == "eap-method"
            assert "it would take EAP-MD5" in attempt(b).reason


def test_certificates_open_the_tunnel():
    network = Network(4)
    a, b = scene(network, (CERTIFICATE,), (RemoteAuth(EAP, eap_methods=("tls",)),))
    remote = b.engine.core.snapshot.peers["left"]
    network.apply(b, _with(b, replace(remote, local_auth=(LocalAuth(credential="own"),))))
    network.run(5)
    assert_up(a, b)


def _with(host: Host, changed: Peer) -> Snapshot:
    old = host.engine.core.snapshot
    return replace(old, revision=old.revision + 1, peers={changed.name: changed}, _anywhere=(changed,))


def test_certificates_prove_both_ends_by_eap_alone():
    network = Network(5)
    a, b = scene(network, (CERTIFICATE,), alone=True)
    network.run(5)
    assert_up(a, b)
    assert str(established(a).remote_id) == "right.example"


def test_a_password_does_not_prove_a_gateway_by_itself():
    """RFC 5998 4: from EAP-MSCHAPv2 a false gateway could guess the password."""
    network = Network(6)
    a, _ = scene(network, alone=True)
    network.run(5)
    assert not a.engine.ike_sas()
    assert attempt(a).cause == "eap-method"


def test_a_gateway_does_not_prove_itself_by_eap_alone_unasked():
    network = Network(7)
    a, b = scene(network, alone=True)
    left = a.engine.core.snapshot.peers["right"]
    old = a.engine.core.snapshot
    network.perform(a, a.engine.stop(network.now))
    changed = replace(left, remote_auth=(RemoteAuth(),))
    network.apply(a, Snapshot.build(2, [changed], [psk()], credentials=old.credentials.values()))
    _, effects = a.engine.connect("right", None, network.now)
    network.perform(a, effects)
    network.run(5)
    assert attempt(b).cause == "auth-method" and "EAP alone" in attempt(b).reason


def test_who_begins_eap_and_gives_no_proof_is_not_believed_where_we_do_not_go_on():
    """It is to prove itself by EAP alone, which we cannot take part in: an EAP request is no proof."""

    def script(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
        given = honest(core, sa, request)
        if request.exchange != ExchangeType.IKE_AUTH or given is None:
            return given
        return [wire.EAP(EapCode.REQUEST, 1, b"\x01"), *[one for one in given if not isinstance(one, wire.AUTH)]]

    network = Network(19)
    a, b = scene(network, (LocalAuth(),), (RemoteAuth(),))
    b.engine.core.answers = script
    left = replace(a.engine.core.snapshot.peers["right"], remote_auth=(RemoteAuth(EAP),))
    network.perform(a, a.engine.stop(network.now))
    network.apply(a, Snapshot.build(2, [left], [psk()]))
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(2)
    assert not established_any(a) and not a.protecting()
    assert not established_any(b)
    assert attempt(a).cause == "auth-method" and "no round of ours is EAP" in attempt(a).reason


def test_a_certificate_for_another_gateway_is_not_believed():
    network = Network(8)
    a, b = scene(network, (CERTIFICATE,), alone=True, gate=OTHER)
    network.run(5)
    assert attempt(a).cause == "eap-tls"
    assert "it is for the domain names other.example, and not for right.example" in attempt(a).reason
    assert not established_any(b)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (issue("bert", ROOT, usage=CLIENT), "the certificate is for bert, not for anna"),
        (issue("anna", ROOT, usage=CLIENT, days=-1), "it has expired"),
        (issue("anna", issue("Else", ca=True), usage=CLIENT), "no trusted authority has issued it"),
        (issue("anna", ROOT, usage=SERVER), "it is not for this purpose"),
    ],
)
def test_a_certificate_that_does_not_prove_the_user_is_refused_in_words(card, reason):
    network = Network(9)
    a, b = scene(network, (CERTIFICATE,), alone=True, card=card)
    network.run(5)
    assert not established_any(a) and not established_any(b)
    assert attempt(b).cause == "eap-tls" and reason in attempt(b).reason
    assert attempt(b).reason.startswith("EAP with anna failed: ")


@pytest.mark.parametrize(
    ("auth", "users", "cause", "reason"),
    [
        (replace(PASSWORD, eap_password=b"no"), (ANNA,), "eap-password", "the user anna gave a wrong password"),
        (replace(PASSWORD, eap_identity="eve"), (ANNA,), "eap-user", "there is no user eve"),
        (PASSWORD, (replace(ANNA, enabled=False),), "eap-user", "the user anna is disabled"),
        (PASSWORD, (replace(ANNA, expires=1_600_000_000.0),), "eap-user", "the user anna has expired"),
    ],
)
def test_who_fails_leaves_an_attempt_at_both_ends(auth, users, cause, reason):
    network = Network(10)
    a, b = scene(network, (auth,), users=users)
    network.run(5)
    assert not established_any(a) and not established_any(b)
    refused, ours = attempt(b), attempt(a)
    assert refused.cause == cause and refused.reason == f"EAP with {auth.eap_identity} failed: {reason}"
    assert refused.eap_identity == auth.eap_identity and refused.advice
    assert ours.cause == "eap-refused" and "wrong user name or password" in ours.reason
    names = [name for seen in refused.messages for name in seen.payloads]
    assert f"N({NotifyType.AUTHENTICATION_FAILED.name})" not in names  # RFC 7296 2.21: EAP Failure says it all


def test_a_key_first_and_then_a_password():
    """RFC 4739: two rounds, of which EAP is the second."""
    network = Network(11)
    a, b = scene(network, (LocalAuth(), PASSWORD), (RemoteAuth(), RemoteAuth(EAP)))
    network.run(5)
    assert_up(a, b)
    (text,) = [taken.text for taken in attempt(b).steps if taken.step == "prove who we are"]
    assert text == "laptop.example proved itself by its pre-shared key; anna proved itself by EAP-MSCHAPv2"


def test_a_password_first_and_then_a_key():
    network = Network(12)
    a, b = scene(network, (PASSWORD, LocalAuth()), (RemoteAuth(EAP), RemoteAuth()))
    network.run(5)
    assert_up(a, b)


@pytest.mark.parametrize("rounds", [(LocalAuth(),), (PASSWORD,)])
def test_one_round_where_two_are_due_is_not_enough(rounds):
    network = Network(13)
    a, b = scene(network, rounds, ((rounds[0].method == EAP and RemoteAuth(EAP)) or RemoteAuth(), RemoteAuth(EAP)))
    network.run(5)
    assert not established_any(b) and not established_any(a)
    assert attempt(b).cause == "auth-method" and "fewer rounds" in attempt(b).reason


def test_policy_looks_at_who_has_proven_himself():
    """RFC 7296 2.16: whoever names another in IDi does not come in as him."""
    network = Network(14)
    _, b = scene(network, expected="*.example")  # laptop.example fits, the user does not
    network.run(5)
    assert not established_any(b)
    assert attempt(b).cause == "unknown-identity"
    assert attempt(b).reason == "EAP with anna failed: anna has proven who he is, but left is for *.example"


def test_a_user_finds_his_entry_whatever_his_machine_is_called():
    network = Network(15)
    a, b = scene(network, expected="anna")
    network.run(5)
    assert_up(a, b)


def test_two_machines_that_call_themselves_the_same_are_two_users():
    """Behind NAT many have the identity 192.168.1.2: who is replaced is told by the user's name."""
    network = Network(16)
    users = (ANNA, User("bert", b"open sesame"))
    a, b = scene(network, users=users)
    c = network.host("third", "192.0.2.3")
    other = replace(a.engine.core.snapshot.peers["right"], local_auth=(replace(PASSWORD, eap_identity="bert"),))
    network.apply(c, Snapshot.build(1, [other], [psk()]))
    network.run(5)
    assert {sa.eap_identity for sa in b.engine.ike_sas()} == {"anna", "bert"}


def test_no_password_is_in_what_is_told():
    network = Network(17)
    a, b = scene(network)
    network.run(5)
    for host in (a, b):
        told = repr(host.events) + repr(attempt(host)) + repr(host.engine.core.snapshot) + repr(host.engine.ike_sas())
        assert "sesame" not in told


def test_a_revoked_certificate_is_refused_and_cuts_what_stands():
    network = Network(18)
    a, b = scene(network, (CERTIFICATE,), alone=True)
    network.run(5)
    assert_up(a, b)
    revoked = Authority("root", ROOT.der, crls=(revocation_list(ROOT, CARD),))
    old = b.engine.core.snapshot
    network.apply(
        b, Snapshot.build(2, old.peers.values(), [psk()], credentials=[credential(GATE)], authorities=[revoked])
    )
    network.run(3)
    assert not established_any(b)
    network.run(60)  # it calls again, and is refused
    assert not established_any(b)
    assert attempt(b).cause == "eap-tls" and "revoked" in attempt(b).reason


def test_a_one_time_code_is_used_up_and_that_is_told():
    network = Network(30)
    secret = b"12345678901234567890"
    anna = replace(ANNA, totp_secret=secret)
    a, b = scene(network, users=(anna,))
    unix = b.engine.core.extensions.tickets.unix
    step = int(unix(network.now)) // one_time.STEP
    code = one_time.codes(secret, unix(network.now))[step]
    snapshot = a.engine.core.snapshot
    (left,) = snapshot.peers.values()
    auth = replace(left.local_auth[0], eap_password=ANNA.password + code)
    network.apply(a, replace(snapshot, revision=2, peers={left.name: replace(left, local_auth=(auth,))}))
    network.run(10)
    assert established_any(b)
    assert b.codes == [CodeUsed("anna", step)]
    network.reboot(b, b.engine.core.snapshot)
    b.engine.restore_codes({used.user: used.step for used in b.codes})
    _, effects = a.engine.disconnect("right", None, network.now)
    network.perform(a, effects)
    network.run(3)
    _, effects = a.engine.connect("right", None, network.now)
    network.perform(a, effects)
    network.run(3)
    assert not established_any(b)
    assert attempt(b).reason == "EAP with anna failed: the user anna gave a wrong password or one-time code"


def test_other_codes_end_the_session_of_the_user():
    network = Network(31)
    _, b = scene(network)
    network.run(5)
    old = b.engine.core.snapshot
    users = {"anna": replace(ANNA, totp_secret=b"12345678901234567890")}
    b.engine.restore_codes({"anna": 10**9})
    network.apply(b, replace(old, revision=old.revision + 1, users=users))
    network.run(2)
    assert not established_any(b)
    assert not b.engine.core.extensions.eap_tries.steps_used, "a new secret's codes were never used"


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ((), "anna is no user any more"),
        ((replace(ANNA, password=b"another"),), "the user anna has another password"),
        ((replace(ANNA, enabled=False),), "anna is the user anna, who is disabled"),
        ((replace(ANNA, sessions=3),), ""),
    ],
)
def test_the_users_of_the_moment_count_when_eap_ends(then, why):
    network = Network(40)
    a, b = scene(network)

    def answers(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
        if request.maybe(wire.AUTH):  # EAP has succeeded
            peers, own = core.snapshot.peers.values(), [credential(GATE)]
            b.engine.apply(Snapshot.build(2, peers, [psk()], credentials=own, users=then), core.now)
        return honest(core, sa, request)

    b.engine.core.answers = answers
    network.run(3)
    if not why:
        assert_up(a, b)
        return
    assert not established_any(b)
    refused = next(one for one in b.engine.core.attempts.latest(9) if one.cause == "barred")
    assert refused.reason == why


def test_a_gateway_without_a_certificate_for_eap_tls_says_so():
    network = Network(90)
    mine = LocalAuth(EAP, credential="own", eap_methods=("tls",))
    _, b = scene(network, (mine,), (RemoteAuth(EAP, eap_methods=("tls",)),))
    network.run(5)
    found = attempt(b)
    assert found.cause == "eap-method" and "there is nothing for EAP-TLS: we have no certificate" in found.reason


AAA = issue("aaa", ROOT, san=(x509.DNSName("aaa.example"),), usage=SERVER)
BY_AAA = replace(CERTIFICATE, eap_server=Identity.parse("aaa.example"))


def test_the_eap_server_may_be_another_than_the_gateway_where_we_say_so():
    """As a RADIUS server behind it is; the gateway proves itself by a key of its own."""
    for number, (auth, gate, up) in enumerate(
        [(BY_AAA, AAA, True), (CERTIFICATE, AAA, False), (BY_AAA, GATE, False), (CERTIFICATE, GATE, True)]
    ):
        network = Network(91 + number)
        a, b = scene(network, (auth,), (RemoteAuth(EAP, eap_methods=("tls",)),), gate=gate)
        old = b.engine.core.snapshot
        (right,) = old.peers.values()
        right = replace(right, local_auth=(LocalAuth(credential="own"),))
        roots = [Authority("root", ROOT.der)]
        network.apply(
            b, Snapshot.build(2, [right], [psk()], credentials=[credential(gate)], authorities=roots, users=(ANNA,))
        )
        network.run(40)
        assert established_any(a) is up, (auth.eap_server, up)
        if not up:
            found = next(one for one in a.engine.core.attempts.latest(9) if one.cause)
            assert found.cause == "eap-tls" and "it is for the domain names" in found.reason


def test_a_gateway_that_proves_itself_by_eap_alone_is_the_server_itself():
    network = Network(95)
    a, _ = scene(network, (BY_AAA,), alone=True, gate=AAA)
    network.run(5)
    assert not established_any(a)
    found = next(one for one in a.engine.core.attempts.latest(9) if one.cause)
    assert "it is for the domain names aaa.example, and not for right.example" in found.reason
