"""Certificates that were revoked, and lists that are missing or stale."""

import datetime as dt

import pytest

from gateway.policy.authentication import Revocation
from gateway.wire.numbers import NotifyType
from tests.pki import authority, revocation_list
from tests.simulation.proofs import ROOT, Pair, left

FAILED = NotifyType.AUTHENTICATION_FAILED
STALE = {"ends": dt.datetime(2026, 11, 21, tzinfo=dt.UTC)}


@pytest.mark.parametrize(
    ("policy", "lists", "holds"),
    [
        (Revocation.STRICT, "good", True),
        (Revocation.STRICT, "none", False),
        (Revocation.STRICT, "stale", False),
        (Revocation.STRICT, "revoked", False),
        (Revocation.IF_REACHABLE, "none", True),
        (Revocation.IF_REACHABLE, "stale", True),
        (Revocation.IF_REACHABLE, "revoked", False),
        (Revocation.OFF, "revoked", True),
    ],
)
def test_what_is_asked_of_a_certificate_s_state(policy: Revocation, lists: str, holds: bool) -> None:
    one = left()
    serial = one.certificate.serial_number
    made = {
        "good": lambda: (revocation_list(ROOT, 1),),
        "none": lambda: (),
        "stale": lambda: (revocation_list(ROOT, 1, **STALE),),
        "revoked": lambda: (revocation_list(ROOT, serial),),
    }[lists]()
    pair = Pair(one, remote={"revocation": policy}, trusted=(ROOT.authority(crls=made),)).run()
    assert pair.stands is holds
    if not holds:
        attempt = pair.attempt(pair.b)
        assert (attempt.cause, attempt.notify) == ("certificate-revocation", FAILED)
        assert [bool(link.fault) for link in attempt.chain] == [True, False]


def test_an_intermediate_that_was_revoked_ends_all_below_it() -> None:
    below = authority("O=Lab, CN=Below", ROOT)
    crl = revocation_list(ROOT, below.certificate.serial_number)
    pair = Pair(left(below), trusted=(ROOT.authority(crls=(crl,)),)).run()
    attempt = pair.attempt(pair.b)
    assert attempt.cause == "certificate-revocation"
    assert [bool(link.fault) for link in attempt.chain] == [False, True, False]


def test_revoking_a_certificate_cuts_the_sa_that_stands_by_it() -> None:
    pair = Pair(trusted=(ROOT.authority(crls=(revocation_list(ROOT, 1),)),)).run()
    before = pair.b.engine.core.established("left")
    newer = revocation_list(ROOT, 1, 2, number=2)
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (ROOT.authority(crls=(newer,)),))
    pair.network.run(1)
    assert pair.b.engine.core.established("left") is before is not None
    crl = revocation_list(ROOT, pair.ours.certificate.serial_number, number=3)
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (ROOT.authority(crls=(crl,)),))
    pair.network.run(30)
    assert pair.b.engine.core.established("left") is None
    assert pair.b.engine.core.attempts.latest(1)[0].cause == "certificate-revocation"
