"""EAP with strongSwan in both roles: each method that both have, two rounds, EAP alone, and what is refused."""

from dataclasses import replace

import pytest

from tests.interop.eap_ends import PASSWORD, TLS_CARD, USER, assert_works, give_files, load, they_call, we_call
from tests.interop.planes import userspace_only
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair
from tests.lab.appliance import Plain

pytestmark = userspace_only


@pytest.fixture(scope="module", autouse=True)
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Certificates and a user at both ends."""
    give_files(pair, tmp_path_factory.mktemp("certificates"))


EAP = [{"method": "eap"}]


def remote(*methods: str) -> list[Plain]:
    return [{"method": "eap", "eap_methods": list(methods)}]


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_strongswan_proves_a_user_by_password(pair: Pair, method: str) -> None:
    theirs = {"local": {"auth": f"eap-{method}", "eap_id": USER, "id": "laptop.lab"}}
    tunnel = they_call(method, theirs, {"remote_auth": remote(method)})
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == USER


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_we_prove_a_user_by_password(pair: Pair, method: str) -> None:
    theirs = {"remote": {"auth": f"eap-{method}", "eap_id": "%any", "id": "laptop.lab"}}
    auth = [{"method": "eap", "eap_identity": USER, "eap_methods": [method]}]
    tunnel = we_call(method, theirs, {"local_auth": auth, "eap_password": PASSWORD})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")


def test_strongswan_is_offered_another_method_until_both_have_one(pair: Pair) -> None:
    theirs = {"local": {"auth": "eap-md5", "eap_id": USER, "id": "laptop.lab"}}
    tunnel = they_call(
        "nak", theirs, {"remote_auth": remote("tls", "mschapv2", "md5"), "local_auth": [{"method": "psk"}]}
    )
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")


@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_a_wrong_password(pair: Pair, initiator: str) -> None:
    if initiator == "theirs":
        theirs = {"local": {"auth": "eap-mschapv2", "eap_id": USER, "id": "laptop.lab"}}
        tunnel = they_call("wrong", theirs, {"remote_auth": EAP})
        load(pair, tunnel, password="no")
        attempt = failed(pair, tunnel, initiator, charon_says="EAP_MSCHAPV2 method failed")
        assert attempt["cause"] == "eap-password" and "anna gave a wrong password" in attempt["reason"]
        return
    theirs = {"remote": {"auth": "eap-mschapv2", "eap_id": "%any", "id": "laptop.lab"}}
    auth = [{"method": "eap", "eap_identity": USER}]
    tunnel = we_call("wrong", theirs, {"local_auth": auth, "eap_password": "no"})
    load(pair, tunnel)
    attempt = failed(pair, tunnel, initiator, charon_says="verification failed")
    assert attempt["cause"] == "eap-refused" and "wrong user name or password" in attempt["reason"]


FIRST = {
    "key": ({"auth": "psk"}, {"method": "psk"}),
    "certificate": ({"auth": "pubkey", "certs": "card.pem"}, {"method": "certificate", "certificate": "card"}),
}


@pytest.mark.parametrize("first", FIRST)
def test_strongswan_proves_itself_twice(pair: Pair, first: str) -> None:
    """RFC 4739: a key or a certificate, then a password."""
    theirs_first, ours_first = FIRST[first]
    name = "anna@lab"
    theirs = {
        "local": {**theirs_first, "id": name, "round": "1"},
        "local-2": {"auth": "eap-mschapv2", "eap_id": USER, "id": name, "round": "2"},
        "send_cert": "always",
    }
    tunnel = they_call("twice", theirs, {"remote_auth": [{"method": ours_first["method"]}, {"method": "eap"}]})
    tunnel = replace(tunnel, right_id=name)
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")
    assert bool(pair.gateway.attempt()["chain"]) is (first == "certificate")


@pytest.mark.parametrize("first", FIRST)
def test_we_prove_ourselves_twice(pair: Pair, first: str) -> None:
    theirs_first, ours_first = FIRST[first]
    name = "anna@lab"
    theirs = {
        "remote": {"auth": theirs_first["auth"], "id": name, "round": "1"},
        "remote-2": {"auth": "eap-mschapv2", "eap_id": "%any", "id": name, "round": "2"},
    }
    auth = [ours_first, {"method": "eap", "eap_identity": USER}]
    tunnel = replace(we_call("twice", theirs, {"local_auth": auth, "eap_password": PASSWORD}), left_id=name)
    load(pair, tunnel)
    before = len(pair.charon.log())
    assert_works(pair, tunnel, "ours")
    told = pair.charon.log()[before:]
    assert "authentication of 'anna@lab' with EAP successful" in told
    assert ("authentication of 'anna@lab' with ECDSA" in told) is (first == "certificate"), told


# --- EAP-TLS ---


def test_strongswan_and_we_prove_each_other_by_eap_alone(pair: Pair) -> None:
    theirs = {"local": {**TLS_CARD, "aaa_id": "left.lab"}, "remote": {"auth": "eap-tls", "id": "left.lab"}}
    ours = {"local_auth": [{"method": "eap", "certificate": "left"}], "remote_auth": remote("tls")}
    tunnel = they_call("alone", theirs, ours)
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")


def test_we_prove_ourselves_by_certificate(pair: Pair) -> None:
    theirs = {
        "local": {"auth": "psk", "id": "right.lab", "certs": "right.pem"},
        "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "eap", "eap_identity": "anna@lab", "certificate": "card", "eap_methods": ["tls"]}]
    tunnel = we_call("ourcard", theirs, {"local_auth": auth})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")


def test_we_take_strongswan_by_eap_alone(pair: Pair) -> None:
    theirs = {
        "local": {"auth": "eap-tls", "id": "right.lab", "certs": "right.pem"},
        "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "eap", "eap_identity": "anna@lab", "certificate": "card"}]
    tunnel = we_call("ouralone", theirs, {"local_auth": auth, "remote_auth": EAP})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")
