"""The registries: numbers that the RFCs print, names that are there once, errors and statuses."""

import enum

import pytest

from gateway.wire import numbers
from gateway.wire.numbers import (
    AuthMethod,
    CfgAttribute,
    Encr,
    ExchangeType,
    IdType,
    Integ,
    KeMethod,
    NotifyType,
    PayloadType,
    Prf,
    TransformType,
    is_error,
    name_of,
)
from gateway.wire.outcome import Close, Drop, Reject

REGISTRIES = [value for value in vars(numbers).values() if isinstance(value, type) and issubclass(value, enum.IntEnum)][
    1:
]


@pytest.mark.parametrize(
    ("member", "number"),
    [
        (ExchangeType.IKE_SA_INIT, 34),  # RFC 7296 3.1
        (ExchangeType.IKE_INTERMEDIATE, 43),  # RFC 9242 5
        (PayloadType.SA, 33),  # RFC 7296 3.2
        (PayloadType.EAP, 48),
        (PayloadType.SKF, 53),  # RFC 7383 2.5
        (PayloadType.PS, 54),  # RFC 8019 8.2
        (TransformType.SN, 5),  # RFC 7296 3.3.2
        (TransformType.ADDKE7, 12),  # RFC 9370 4.1
        (Encr.ENCR_AES_GCM_16, 20),  # RFC 5282 7.2
        (Encr.ENCR_CHACHA20_POLY1305, 28),  # RFC 7634
        (Prf.PRF_HMAC_SHA2_256, 5),  # RFC 4868 2.7
        (Integ.AUTH_HMAC_SHA2_512_256, 14),
        (KeMethod.ECP_521, 21),  # RFC 5903 4
        (KeMethod.BRAINPOOL_P256R1, 28),  # RFC 6954
        (KeMethod.CURVE448, 32),  # RFC 8031
        (KeMethod.ML_KEM_768, 36),  # draft-ietf-ipsecme-ikev2-mlkem
        (IdType.ID_KEY_ID, 11),  # RFC 7296 3.5
        (AuthMethod.DIGITAL_SIGNATURE, 14),  # RFC 7427 7
        (CfgAttribute.INTERNAL_DNS_DOMAIN, 25),  # RFC 8598 8
        (NotifyType.NO_PROPOSAL_CHOSEN, 14),  # RFC 7296 3.10.1
        (NotifyType.MOBIKE_SUPPORTED, 16396),  # RFC 4555 5.2
        (NotifyType.SIGNATURE_HASH_ALGORITHMS, 16431),  # RFC 7427 7
        (NotifyType.ADDITIONAL_KEY_EXCHANGE, 16441),  # RFC 9370 4.1
    ],
)
def test_numbers_of_the_rfcs(member: int, number: int) -> None:
    assert member == number


def test_every_number_has_one_name() -> None:
    assert len(REGISTRIES) == 23
    for registry in REGISTRIES:
        assert len(registry.__members__) == len(list(registry)) > 1, registry


def test_names() -> None:
    assert name_of(Encr, 20) == "ENCR_AES_GCM_16"
    assert name_of(Encr, Encr.ENCR_AES_CBC) == "ENCR_AES_CBC"
    assert name_of(Encr, 1024) == "1024"
    assert name_of(Integ, Encr.ENCR_AES_CBC) == "AUTH_HMAC_SHA2_256_128"
    assert name_of(Integ, Encr.ENCR_AES_GCM_16) == "20"


def test_errors_are_below_the_first_status() -> None:
    errors = {kind for kind in NotifyType if is_error(kind)}
    assert NotifyType.REGISTRATION_FAILED in errors
    assert NotifyType.INITIAL_CONTACT not in errors
    assert len(errors) == 25
    assert is_error(16383)
    assert not is_error(16384)


def test_the_three_ways_to_fail_say_why() -> None:
    assert Drop("late").why == str(Drop("late")) == "late"
    reject = Reject(NotifyType.INVALID_KE_PAYLOAD, "another group", b"\x00\x1f")
    assert (reject.notify, reject.why, reject.data) == (17, "another group", b"\x00\x1f")
    assert Close(None, "gone").notify is None
    assert Close(NotifyType.AUTHENTICATION_FAILED, "no key").data == b""
