"""MD4, MS-CHAPv2 and one-time codes against the RFCs' own numbers."""

import pytest

from gateway.crypto import mschap, one_time
from gateway.crypto.md4 import md4

RFC1320 = {
    b"": "31d6cfe0d16ae931b73c59d7e0c089c0",
    b"a": "bde52cb31de33e46245e05fbdbd6fb24",
    b"abc": "a448017aaf21d8525fc10ae87aa6729d",
    b"message digest": "d9130a8164549fe818874806e1c7014b",
    b"abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "043f8582f241db351ce627e153e7f0e4",
    b"1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}

AUTHENTICATOR = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
PEER = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
HASH = bytes.fromhex("44EBBA8D5312B8D611474411F56989AE")


@pytest.mark.parametrize(("data", "digest"), RFC1320.items())
def test_md4_as_rfc_1320_has_it(data, digest):
    assert md4(data).hex() == digest


def test_rfc_2759_9_2():
    assert mschap.nt_hash(b"clientPass") == HASH
    twice = mschap.hash_hash(HASH)
    assert twice.hex() == "41c00c584bd2d91c4017a2a12fa59f3f"
    challenge = mschap.challenge_hash(PEER, AUTHENTICATOR, b"User")
    assert challenge.hex() == "d02e4386bce91226"
    assert mschap.nt_response(HASH, challenge) == RESPONSE
    answer = b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
    assert mschap.authenticator_response(twice, RESPONSE, challenge) == answer


def test_rfc_3079_3_5_3():
    twice = mschap.hash_hash(HASH)
    master = mschap.master_key(twice, RESPONSE)
    assert master.hex() == "fdece3717a8c838cb388e527ae3cdd31"
    server_sends = mschap.start_key(master, of_client=False)
    assert server_sends.hex() == "8b7cdc149b993a1ba118cb153f56dccb"
    assert mschap.msk(twice, RESPONSE) == mschap.start_key(master, of_client=True) + server_sends + bytes(32)


def test_a_password_beyond_ascii_is_hashed_as_utf_16():
    assert mschap.nt_hash("Ä€😀".encode()) == md4(b"\xc4\x00\xac\x20\x3d\xd8\x00\xde")


def test_a_password_that_is_no_text_is_refused():
    with pytest.raises(ValueError):
        mschap.nt_hash(b"\xff\xfe")


@pytest.mark.parametrize(
    ("unix", "eight"),
    [(59, "94287082"), (1111111109, "07081804"), (1234567890, "89005924"), (20000000000, "65353130")],
)
def test_rfc_6238_appendix_b(unix, eight):
    """Its codes have eight digits, ours the last six of them."""
    good = one_time.codes(b"12345678901234567890", unix)
    assert good[unix // one_time.STEP] == eight[2:].encode()
    assert set(good) == {unix // 30 - 1, unix // 30, unix // 30 + 1}
