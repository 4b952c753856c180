"""EAP's two ends by themselves: who is let in by which method, and who is not."""

from urllib.parse import parse_qs

import pytest
from cryptography import x509
from OpenSSL import SSL

from gateway.crypto import mschap, one_time
from gateway.crypto.certificates import Certificate
from gateway.ike.authentication.eap import md5
from gateway.ike.authentication.eap.certificates import holder
from gateway.ike.authentication.eap.gate import Proven
from gateway.ike.authentication.eap.talk import Failed
from gateway.ike.authentication.eap.tls_machine import TlsTerms
from gateway.policy.users import User
from gateway.service.tls_machine import make_tls
from gateway.wire.numbers import EapCode, EapType
from gateway.wire.payloads import EAP
from tests.ike.eap_lab import CLIENT, NOW, SERVER, Issued, Server, account, cause, issue, meet, why

MD5, MSCHAP, TLS = 4, 26, 13


def test_the_right_password_lets_in_with_a_key_at_both_ends():
    ended = meet(Server(), account())
    assert isinstance(ended.server, Proven) and isinstance(ended.peer, Proven)
    assert ended.server.identity == "anna" and ended.server.kind == EapType.EAP_MSCHAP_V2
    assert len(ended.server.msk) == 64 and ended.server.msk == ended.peer.msk
    assert ended.packets[-1].code == EapCode.SUCCESS


def test_the_exchange_of_rfc_2759_is_made_to_the_octet():
    """The challenges are given by both ends' chance; the response must be the RFC's (9.2)."""
    authenticator = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    server = Server({"User": User("User", b"clientPass")}, random=lambda _: authenticator)
    who = account(b"User", b"clientPass")
    who = type(who)(b"User", b"clientPass", (MSCHAP,), lambda _: bytes.fromhex("21402324255E262A28295F2B3A337C7E"))
    ended = meet(server, who)
    response = ended.packets[3].data
    assert "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" in response.hex()
    assert b"S=407A5589115FD0D6209F510FE9C04566932CDA56" in ended.packets[4].data
    assert isinstance(ended.server, Proven)
    master = mschap.master_key(mschap.hash_hash(mschap.nt_hash(b"clientPass")), response[30:54])
    assert ended.server.msk[:16] == mschap.start_key(master, of_client=True)


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        (b"anna", b"wrong", "the user anna gave a wrong password"),
        (b"nobody", b"open sesame", "there is no user nobody"),
        (b"off", b"open sesame", "the user off is disabled"),
        (b"late", b"open sesame", "the user late has expired"),
        (b"bare", b"", "the user bare has no password"),
    ],
)
def test_who_may_not_come_in_hears_the_same_and_we_know_why(name, password, reason):
    users = [User("anna", b"open sesame"), User("off", b"open sesame", enabled=False)]
    users += [User("late", b"open sesame", expires=NOW), User("bare")]
    ended = meet(Server({user.name: user for user in users}), account(name, password))
    assert why(ended.server) == reason
    assert why(ended.peer).startswith("the server refuses our password: wrong user name or password")
    assert [packet.code for packet in ended.packets] == [1, 2] * 3 + [4]


def test_a_domain_before_the_name_is_no_part_of_it():
    ended = meet(Server(), account(b"OFFICE\\anna"))
    assert isinstance(ended.server, Proven) and ended.server.identity == "anna"


def test_another_name_in_the_response_than_was_claimed_proves_nothing():
    """The policy sees who has proven himself, not who was named before (RFC 7296 2.16)."""
    users = {name: User(name, b"same") for name in ("anna", "bert")}

    def rename(packet: EAP) -> EAP:
        return EAP(packet.code, packet.identifier, packet.data.replace(b"bert", b"anna"))

    def claim(packet: EAP) -> EAP:
        return rename(packet) if packet.method == EapType.IDENTITY else packet

    ended = meet(Server(users), account(b"bert", b"same"), to_server=claim)
    assert why(ended.server) == "the user anna gave a wrong password"


def test_a_server_that_does_not_know_the_password_is_not_believed():
    def forge(packet: EAP) -> EAP:
        at = packet.data.find(b"S=")
        return (
            packet
            if at < 0
            else EAP(packet.code, packet.identifier, packet.data[: at + 2] + b"0" * 40 + packet.data[at + 42 :])
        )

    ended = meet(Server(), account(), to_peer=forge)
    assert why(ended.peer) == "the server does not know our password: it only said so"


def test_a_nak_leads_to_the_method_that_both_have():
    ended = meet(Server(methods=("mschapv2", "md5")), account(methods=(MD5,)))
    assert isinstance(ended.server, Proven) and ended.server.kind == EapType.MD5_CHALLENGE
    assert ended.server.msk == b"" and isinstance(ended.peer, Proven)


def test_methods_that_do_not_meet_are_named():
    ended = meet(Server(methods=("mschapv2",)), account(methods=(MD5, 21)))
    said = "the peer takes none of our EAP methods (EAP-MSCHAPv2); it would take EAP-MD5, EAP-TTLS"
    assert why(ended.server) == said and cause(ended.server) == "eap-method"
    assert why(ended.peer) == "the server ended EAP with Failure after we refused 1 of its methods"


def test_md5_with_a_wrong_password_is_refused():
    ended = meet(Server(methods=("md5",)), account(password=b"other", methods=(MD5,)))
    assert why(ended.server) == "the user anna gave a wrong password"
    assert cause(ended.peer) == "eap-refused"


def test_a_one_time_code_is_good_once():
    secret = b"12345678901234567890"
    server = Server({"anna": User("anna", b"pass", totp_secret=secret)})
    code = one_time.codes(secret, NOW)[int(NOW) // 30]
    assert why(meet(server, account(password=b"pass")).server) == "the user anna gave a wrong password or one-time code"
    assert isinstance(meet(server, account(password=b"pass" + code)).server, Proven)
    assert isinstance(meet(server, account(password=b"pass" + code)).server, Failed)


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_as_many_passwords_are_tried_for_everybody(method, monkeypatch):
    """The time tells neither who has codes nor whether there is such a user."""
    tried = []
    monkeypatch.setattr(mschap, "nt_response", lambda key, hashed: tried.append(key) or bytes(24))
    monkeypatch.setattr(md5, "_answer", lambda identifier, password, challenge: tried.append(password) or bytes(16))
    users = {"anna": User("anna", b"pass"), "bert": User("bert", b"pass", totp_secret=b"12345678901234567890")}
    counts = {}
    for name in (b"anna", b"bert", b"nobody"):
        tried.clear()
        numbers = (MD5,) if method == "md5" else ()
        meet(Server(users, methods=(method,)), account(name, methods=numbers) if numbers else account(name))
        counts[name] = len(tried)
    one = 1  # the peer's own answer
    assert counts[b"anna"] == counts[b"bert"] == one + one_time.MOST
    if method == "mschapv2":
        assert counts[b"nobody"] == counts[b"anna"]


def test_a_code_that_was_used_is_told_and_stays_used():
    secret = b"12345678901234567890"
    server = Server({"anna": User("anna", b"pass", totp_secret=secret)})
    step = int(NOW) // 30
    code = one_time.codes(secret, NOW)[step]
    server.tries.steps_used["anna"] = step
    assert isinstance(meet(server, account(password=b"pass" + code)).server, Failed)
    server.tries.steps_used["anna"] = step - 1
    assert isinstance(meet(server, account(password=b"pass" + code)).server, Proven)
    assert server.tries.steps_used["anna"] == step


def test_a_secret_is_written_as_apps_read_it():
    uri = one_time.uri(bytes(range(20)), "anna@example.com", "vpn.example")
    assert uri == (
        "otpauth://totp/vpn.example:anna@example.com?secret=AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT&issuer=vpn.example"
        "&algorithm=SHA1&digits=6&period=30"
    )


@pytest.mark.parametrize(
    ("name", "issuer", "label"),
    [
        ("anna", "2001:db8::1", "2001.db8..1:anna"),
        ("DOM:anna b", "vpn.example", "vpn.example:DOM%3Aanna%20b"),
        ("anna&secret=x", "a&b", "a%26b:anna%26secret%3Dx"),
    ],
)
def test_one_colon_parts_the_issuer_from_the_account(name, issuer, label):
    uri = one_time.uri(bytes(20), name, issuer)
    assert uri.partition("?")[0] == f"otpauth://totp/{label}"
    asked = parse_qs(uri.partition("?")[2])
    assert asked["issuer"] == [label.partition(":")[0].replace("%26", "&")] and len(asked["secret"]) == 1


def test_wrong_tries_lock_this_source_out_and_nobody_else():
    server = Server()
    for _ in range(5):
        assert cause(meet(server, account(password=b"wrong")).server) == "eap-password"
    assert cause(meet(server, account()).server) == "eap-locked"
    server.remote = "192.0.2.8"
    assert isinstance(meet(server, account()).server, Proven)
    server.remote, server.now = "192.0.2.7", server.now + 61
    assert isinstance(meet(server, account()).server, Proven)


def test_a_source_cannot_try_names_without_end():
    server = Server()
    causes = [cause(meet(server, account(b"user%d" % number)).server) for number in range(40)]
    assert causes[:30] == ["eap-user"] * 30 and causes[30:] == ["eap-locked"] * 10


def test_those_without_a_name_lock_nobody_out_but_their_source():
    server = Server()
    causes = [cause(meet(server, account(b"anonymous@lab")).server) for _ in range(31)]
    assert causes == ["eap-user"] * 30 + ["eap-locked"]
    server.remote = "192.0.2.8"
    assert cause(meet(server, account(b"anonymous@lab")).server) == "eap-user"


@pytest.mark.parametrize("claimed", ["@lab", "anonymous", "Anonymous@lab"])
def test_a_name_that_is_kept_back_is_taken_from_the_certificate(claimed):
    assert holder(claimed, Certificate.read(ANNA.der)) == "anna"
    with pytest.raises(Failed):
        holder("bert", Certificate.read(ANNA.der))


def test_right_passwords_use_nothing_up():
    server = Server()
    assert all(isinstance(meet(server, account()).server, Proven) for _ in range(100))


# --- EAP-TLS ---

ROOT = issue("Root", ca=True)
GATE = issue("gate.example", ROOT, usage=SERVER)
ANNA = issue("anna", ROOT, usage=CLIENT)


def machine(issued: Issued, anchors: tuple[bytes, ...] = (ROOT.der,), newest: int = SSL.TLS1_3_VERSION, **more: bool):
    server = bool(more.get("server"))
    return lambda: make_tls(TlsTerms(server, issued.key, (issued.der,), anchors, unix=NOW), newest)


def tls_server(**more) -> Server:
    base = {"methods": ("tls",), "tls": machine(GATE, server=True), "certified": lambda claimed, chain: claimed}
    return Server(**(base | more))


def tls_account(issued: Issued = ANNA, anchors: tuple[bytes, ...] = (ROOT.der,), newest: int = SSL.TLS1_3_VERSION):
    return account(password=b"", methods=(TLS,), tls=machine(issued, anchors, newest), certified=lambda chain: None)


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_certificates_let_in_with_one_key_at_both_ends(newest):
    ended = meet(tls_server(users={}), tls_account(newest=newest))
    assert isinstance(ended.server, Proven), ended.server
    assert isinstance(ended.peer, Proven), ended.peer
    assert ended.server.identity == "anna" and ended.server.user is None
    assert len(ended.server.msk) == 64 and ended.server.msk == ended.peer.msk


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_long_chain_goes_over_in_fragments(newest):
    longest = issue("x" * 60, ROOT, usage=CLIENT, san=tuple(_names(200)))
    ended = meet(tls_server(users={}), tls_account(longest, newest=newest))
    assert isinstance(ended.server, Proven), ended.server
    assert max(len(packet.octets()) for packet in ended.packets) <= 1034
    assert len(ended.packets) > 16


def _names(count: int):
    return [x509.DNSName(f"name{number}.of.a.long.list.example") for number in range(count)]


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (issue("anna", ROOT, usage=CLIENT, days=-1), "it has expired"),
        (issue("anna", ROOT, usage=SERVER), "it is not for this purpose"),
        (issue("anna"), "it is signed by itself"),
        (issue("anna", issue("Other root", ca=True), usage=CLIENT), "no trusted authority has issued it"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_refused_in_words(certificate, reason, newest):
    ended = meet(tls_server(), tls_account(certificate, newest=newest))
    assert reason in why(ended.server) and cause(ended.server) == "eap-tls"
    assert cause(ended.peer) in ("eap-tls", "eap-refused")


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_server_that_is_not_trusted_gets_no_proof(newest):
    other = issue("Other", ca=True)
    ended = meet(tls_server(), tls_account(anchors=(other.der,), newest=newest))
    assert "no trusted authority" in why(ended.peer) or "a root that is not trusted" in why(ended.peer)
    assert cause(ended.server) == "eap-tls" and "alert" in why(ended.server)


def test_a_disabled_user_with_a_good_certificate_stays_out():
    users = {"anna": User("anna", enabled=False)}
    assert why(meet(tls_server(users=users), tls_account()).server) == "the user anna is disabled"


def test_a_peer_without_a_certificate_for_tls_refuses_it():
    ended = meet(tls_server(methods=("tls", "mschapv2")), account())
    assert isinstance(ended.server, Proven) and ended.server.kind == EapType.EAP_MSCHAP_V2
