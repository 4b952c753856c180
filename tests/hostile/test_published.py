"""Every class of published faults in IKE daemons by name, and its tests; those of what had none are here."""

import ast
import logging
from functools import cache
from pathlib import Path

import pytest

from gateway.policy.identities import IdentityPattern
from gateway.policy.peers import Psk
from gateway.policy.snapshot import Snapshot
from gateway.service.journal import Journal
from gateway.service.observe import Observer
from gateway.service.status import TunnelState
from gateway.wire import payloads as wire
from gateway.wire.describe import describe
from gateway.wire.numbers import NotifyType, TransformType
from tests.hostile.abuses import ABUSES
from tests.hostile.rogue import AUTH, CREATE, INFORM, STATES, Inner, Rogue, answered, errors
from tests.hostile.scene import Scene
from tests.simulation.network import ESP, IKE

TESTS = Path(__file__).parents[1]
PADDING = wire.VendorId(bytes(200))
"""With it no answer is larger than what was asked, and so none has to wait for a cookie."""

CLASSES = {
    # the engine
    "an INFORMATIONAL before AUTH": [
        "hostile/test_before_keys.py::test_no_exchange_goes_before_authentication",
        "hostile/test_before_keys.py::test_what_comes_in_the_clear_is_ignored_when_there_are_keys",
    ],
    "an error path before keys exist": [
        "hostile/test_before_keys.py::test_a_broken_opening_is_refused_and_forgotten",
        "hostile/test_before_keys.py::test_a_broken_answer_ends_the_call_with_a_reason",
        "hostile/test_before_keys.py::test_a_cookie_of_a_wrong_size_ends_the_call",
    ],
    "a peer-controlled enum echoed back": [
        "hostile/test_published.py::test_a_number_of_the_peers_comes_back_as_an_octet"
    ],
    "payload after Delete": [
        "hostile/test_children.py::test_nothing_after_the_delete_of_the_ike_sa_is_looked_at",
        "hostile/test_children.py::test_a_child_is_deleted_once_however_often_it_is_named",
    ],
    "own SPI reused": [
        "hostile/test_children.py::test_our_own_spi_as_the_peers_is_only_a_number",
        "hostile/test_children.py::test_a_rekey_by_our_own_inbound_spi_finds_no_child",
        "hostile/test_window.py::test_a_peer_that_takes_our_spi_for_its_own_gains_nothing",
    ],
    "zero-length keys": [
        "hostile/test_published.py::test_a_key_exchange_of_no_octets_makes_no_keys",
        "hostile/test_published.py::test_a_cipher_with_a_key_of_no_bits_is_not_chosen",
        "hostile/test_published.py::test_an_empty_secret_proves_nothing",
    ],
    "oversized or missing payloads in every state": [
        "hostile/test_matrix.py::test_a_request_of_abuse_changes_nothing_for_others",
        "hostile/test_matrix.py::test_a_response_of_abuse_changes_nothing_for_others",
    ],
    "fragments repeated or contradictory": [
        "hostile/test_fragments.py::test_pieces_make_a_message_in_any_order_and_however_often_they_come",
        "hostile/test_fragments.py::test_a_piece_that_contradicts_an_earlier_one_is_not_taken",
        "hostile/test_fragments.py::test_a_smaller_number_of_pieces_is_an_older_set_and_a_larger_one_a_newer",
    ],
    "log lines about absent state": ["hostile/test_published.py::test_what_is_absent_can_be_told_of"],
    "unknown signature OIDs": [
        "hostile/test_authentication.py::test_an_unknown_signature_algorithm_is_no_proof",
        "crypto/test_signatures.py::test_an_algorithm_that_we_do_not_know_is_named",
    ],
    # who is there
    "length underflow": [
        "hostile/test_eap.py::test_a_failure_request_shorter_than_its_header_underflows_nothing",
        "hostile/test_eap_in_ike.py::test_an_eap_packet_whose_length_lies_ends_it",
        "wire/test_radius.py::test_a_header_that_lies_about_the_length_is_dropped",
    ],
    "endless attribute loop": [
        "wire/test_radius.py::test_an_attribute_without_a_length_is_dropped_and_ends_no_loop",
        "wire/test_radius.py::test_attributes_without_end_are_dropped",
    ],
    "early EAP success": [
        "hostile/test_eap.py::test_success_before_the_method_is_at_its_end_is_no_success",
        "hostile/test_eap_in_ike.py::test_an_early_success_is_not_believed",
    ],
    "PKCS#1 v1.5 padding": ["crypto/test_signatures.py::test_a_padding_that_is_not_exact_is_no_signature"],
    "case in name constraints": ["crypto/test_name_constraints.py::test_what_is_excluded_is_excluded_in_any_spelling"],
    "attacker-chosen fetch": [
        "service/test_fetching.py::test_addresses_inside_are_not_asked",
        "service/test_fetching.py::test_a_name_is_asked_for_once_so_that_it_cannot_turn_inside",
        "service/test_fetching.py::test_nothing_is_sent_to_an_address_inside",
    ],
}


@cache
def named_in(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_its_tests(name: str) -> None:
    missing = [entry for entry in CLASSES[name] if entry.partition("::")[2] not in named_in(entry.partition("::")[0])]
    assert not missing


# --- a peer-controlled enum echoed back ---


@pytest.mark.parametrize("kind", [49, 57, 99, 127, 128, 200, 255])
@pytest.mark.parametrize("state", ["opening", "half_open", "answered", "rekeyed"])
def test_a_number_of_the_peers_comes_back_as_an_octet(state: str, kind: int) -> None:
    """RFC 7296 2.5: the type of the critical payload that we do not know goes back as it came, and harms nobody."""
    scene = Scene()
    unknown = wire.Unknown(kind, b"", critical=True)
    if state == "opening":
        answers = Rogue(scene, True).call([wire.SA([IKE[0].to_wire(1, b"")]), unknown, wire.Nonce(bytes(600))])
        answer = answers[0] if answers else None
    else:
        rogue = STATES[state](scene)
        answer = rogue.request(AUTH if state == "half_open" else INFORM, unknown)
    assert answer is not None
    (notify,) = answer.all(wire.Notify)
    assert (notify.type, notify.data) == (NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, bytes((kind,)))
    describe(answer)
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize("number", [0, 4, 256, 8191, 8192, 16383, 40959, 40960, 65535])
def test_a_notify_of_a_number_that_we_do_not_know_can_be_told_of(number: int) -> None:
    scene = Scene()
    rogue = answered(scene)
    rogue.request(INFORM, wire.Notify(255, b"\xff" * 4, number, b"\0\xff\n"))
    rogue.request(CREATE, *rogue.new_child(), wire.Notify(7, b"", number, b""))
    scene.assert_serves()
    scene.assert_forgets()


# --- zero-length keys ---


@pytest.mark.parametrize("method", [14, 19, 31, 36])
def test_a_key_exchange_of_no_octets_makes_no_keys(method: int) -> None:
    """In IKE_SA_INIT and in a rekey under keys."""
    scene = Scene()
    rogue = Rogue(scene, True)
    answers = rogue.call([wire.SA([IKE[0].to_wire(1, b"")]), wire.KE(method, b""), wire.Nonce(bytes(32)), PADDING])
    assert answers and all(errors(answer) for answer in answers)
    assert scene.books() == scene.before
    rogue = answered(scene)
    before = list(scene.engine.core.sas)
    offer = wire.SA([IKE[0].to_wire(1, b"\1" * 8)])
    assert errors(rogue.request(CREATE, offer, wire.Nonce(bytes(32)), wire.KE(method, b"")))
    inside = [one if not isinstance(one, wire.KE) else wire.KE(method, b"") for one in rogue.new_child()]
    assert errors(rogue.request(CREATE, *inside))
    assert list(scene.engine.core.sas) == before
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize("bits", [0, 1, 8, 65535])
def test_a_cipher_with_a_key_of_no_bits_is_not_chosen(bits: int) -> None:
    scene = Scene()

    def weakened(proposal: wire.Proposal) -> wire.SA:
        for transform in proposal.transforms:
            if transform.type == TransformType.ENCR:
                transform.key_bits = bits
        return wire.SA([proposal])

    rogue = Rogue(scene, True)
    answers = rogue.call([weakened(IKE[0].to_wire(1, b"")), wire.KE(31, bytes((9, *bytes(31)))), wire.Nonce(bytes(32))])
    assert [errors(answer) for answer in answers] == [[NotifyType.NO_PROPOSAL_CHOSEN]]
    rogue = answered(scene)
    weak = weakened(ESP[0].to_wire(1, b"\0\4\5\6"))
    inside = [weak if isinstance(one, wire.SA) else one for one in rogue.new_child()]
    assert errors(rogue.request(CREATE, *inside)) == [NotifyType.NO_PROPOSAL_CHOSEN]
    scene.assert_serves()
    scene.assert_forgets()


def test_an_empty_secret_proves_nothing() -> None:
    """A peer for which there is no key is refused, not let in by a key of no octets."""
    scene = Scene()
    was = scene.engine.core.snapshot
    keys = [Psk("honest", was.psks[0].secret, remote_ids=(IdentityPattern.parse("honest.example"),))]
    bare = Snapshot.build(2, was.peers.values(), keys, was.settings)
    scene.do(lambda engine, now: engine.apply(bare, now)[1])
    rogue = Rogue(scene, True, secret=b"")
    rogue.call()
    assert errors(rogue.authenticate()) == [NotifyType.AUTHENTICATION_FAILED]


# --- log lines about absent state ---


@pytest.mark.parametrize("state", STATES)
def test_what_is_absent_can_be_told_of(state: str, caplog: pytest.LogCaptureFixture) -> None:
    """An SA without peer, identity, keys or child: status, journal, log and attempts find words for it."""
    caplog.set_level(logging.DEBUG)
    scene = Scene()
    observer = Observer(scene.engine, scene.gate.plane, lambda: scene.network.now, lambda: 0.0)
    rogue = STATES[state](scene)
    for number, abuse in enumerate((*ABUSES, "", "silence")):
        if rogue.keys is not None and abuse != "silence":
            made = ABUSES[abuse](rogue) if abuse else Inner(0, b"")
            kind = (AUTH, CREATE, INFORM)[number % 3]
            inside = made if isinstance(made, Inner) else list(made)
            rogue.ask(rogue.seal(kind, inside))
        else:
            scene.network.run(400)
        status = observer.status((), ())
        assert len(status.peers) == len(scene.engine.core.snapshot.peers)
        assert all(one.reason and "None" not in one.reason for one in status.peers if one.state is not TunnelState.UP)
        journal = Journal()
        for event in scene.gate.events:
            journal.write(0.0, event.kind, event.text, event.peer, **event.data)
            assert event.text and "None" not in event.text, event
        assert all("None" not in one.reason for one in scene.engine.core.attempts.latest(50))
    assert "Traceback" not in caplog.text
    scene.assert_serves()
