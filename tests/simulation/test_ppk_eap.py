"""Post-quantum pre-shared keys with a peer that proves itself by EAP, in IKE_AUTH and IKE_INTERMEDIATE (RFC 8784 3)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.ike.authentication import ppk
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import LocalAuth, RemoteAuth
from gateway.policy.identities import IdentityPattern
from gateway.policy.peers import PpkExchange
from gateway.policy.ppks import Ppk
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import key_exchange
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from tests.simulation.eap_scenes import CERTIFICATE, EAP, PASSWORD, assert_up, attempt, established_any, scene
from tests.simulation.network import Host, Network, Weather, psk
from tests.simulation.test_ppk import ONE, TWO, Keys
from tests.simulation.test_tampering import between, without

MD5 = (replace(PASSWORD, eap_methods=("md5",)),), (RemoteAuth(EAP, eap_methods=("md5",)),)
KINDS: dict[str, dict[str, object]] = {
    "mschapv2": {},
    "md5, which makes no key": {"left_auth": MD5[0], "right_auth": MD5[1]},
    "tls alone": {"left_auth": (CERTIFICATE,), "alone": True},
    "eap, then a key": {"left_auth": (PASSWORD, LocalAuth()), "right_auth": (RemoteAuth(EAP), RemoteAuth())},
    "a key, then eap": {"left_auth": (LocalAuth(), PASSWORD), "right_auth": (RemoteAuth(), RemoteAuth(EAP))},
}
AUTH, EARLY = PpkExchange.AUTH, PpkExchange.INTERMEDIATE


def mixed(
    network: Network,
    ours: Keys,
    theirs: Keys,
    required: tuple[bool, bool] = (False, False),
    exchange: PpkExchange = AUTH,
    **kind: object,
) -> tuple[Host, Host]:
    """The scene of `test_eap`, whose ends have these keys from the first call on."""
    apply = network.apply

    def with_keys(host: Host, snapshot: Snapshot) -> None:
        keys, insists = (ours, required[0]) if host.name == "left" else (theirs, required[1])
        names = tuple(key.name for key in keys)
        (one,) = snapshot.peers.values()
        one = replace(one, ppks=names, ppk_required=insists, ppk_exchange=exchange)
        users, authorities = snapshot.users.values(), snapshot.authorities.values()
        credentials = snapshot.credentials.values()
        more = {"credentials": credentials, "authorities": authorities, "users": users, "ppks": keys}
        apply(host, Snapshot.build(1, [one], snapshot.psks, **more))  # type: ignore[arg-type]

    network.apply = with_keys  # type: ignore[method-assign]
    return scene(network, **kind)  # type: ignore[arg-type]


def told(host: Host) -> str:
    (sa,) = host.engine.ike_sas()
    return key_exchange(sa)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize("required", [(False, False), (True, True)])
def test_both_have_it(kind: str, exchange: PpkExchange, required: tuple[bool, bool]) -> None:
    network = Network(1)
    a, b = mixed(network, (ONE,), (ONE,), required, exchange, **KINDS[kind])
    network.run(5)
    assert_up(a, b)
    for host in (a, b):
        assert ("with a PPK in IKE_INTERMEDIATE" in told(host)) is (exchange == EARLY)
        assert "with a PPK" in told(host)
        assert not host.engine.core.extensions.ppk_offers
    (one,), (other,) = a.engine.ike_sas(), b.engine.ike_sas()
    assert one.keys == other.keys
    network.perform(a, a.engine.rekey("right", "net", network.now)[1])
    network.run(10)
    assert len(a.protecting()) == len(b.protecting()) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize("ours", [(ONE,), ()])
def test_done_without_where_the_responder_has_another(kind: str, exchange: PpkExchange, ours: Keys) -> None:
    """RFC 8784 3: the last request has NO_PPK_AUTH, made with EAP's key as well."""
    network = Network(1)
    a, b = mixed(network, ours, (TWO,), exchange=exchange, **KINDS[kind])
    network.run(5)
    assert_up(a, b)
    assert "with a PPK" not in told(a) + told(b)


@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize("required", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("keys", [((ONE,), (TWO,)), ((ONE,), ()), ((), (ONE,))])
def test_never_without_where_it_is_required(
    keys: tuple[Keys, Keys], required: tuple[bool, bool], exchange: PpkExchange
) -> None:
    if (required[0] and not keys[0]) or (required[1] and not keys[1]):
        required = (bool(keys[0]), bool(keys[1]))
    network = Network(1)
    a, b = mixed(network, *keys, required, exchange)
    network.run(5)
    assert not established_any(a)
    assert not established_any(b)
    assert "ppk" in (attempt(a).cause, attempt(b).cause)


def test_who_says_nothing_of_a_key_is_refused_before_a_word_of_eap() -> None:
    network = Network(1)
    _, b = mixed(network, (), (ONE,), (False, True))
    network.run(1)
    assert attempt(b).cause == "ppk"
    assert not attempt(b).eap_identity


def test_another_secret_of_the_same_name_fails_the_proof() -> None:
    network = Network(1)
    a, b = mixed(network, (ONE,), (Ppk("one", ONE.identity, bytes(32)),))
    network.run(5)
    assert not established_any(a) and not established_any(b)
    assert attempt(b).cause == "eap-key"


@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize("response", [False, True])
def test_stripped_in_transit(exchange: PpkExchange, response: bool) -> None:
    network = Network(1)
    kind = NotifyType.USE_PPK if exchange == AUTH else NotifyType.USE_PPK_INT
    changed = between(network, without(kind), response=response)
    a, b = mixed(network, (ONE,), (ONE,), exchange=exchange)
    network.run(5)
    assert changed
    assert not established_any(a) and not established_any(b)


@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize("seed", range(6))
def test_through_bad_weather(seed: int, exchange: PpkExchange) -> None:
    network = Network(seed, Weather(loss=0.2, duplicate=0.3, jitter=0.5))
    a, b = mixed(network, (ONE,), (ONE,), (True, True), exchange)
    network.run(150)
    (sa,) = b.engine.ike_sas()
    assert sa.eap_identity == "anna", a.events
    assert "with a PPK" in told(a)


Lie = Callable[[Message], None]


def _no_name(message: Message) -> None:
    message.payloads = [one for one in message.payloads if getattr(one, "type", None) != NotifyType.PPK_IDENTITY]


def _hostile_name(message: Message) -> None:
    for one in message.payloads:
        if isinstance(one, wire.Notify) and one.type == NotifyType.PPK_IDENTITY:
            one.data = b"\x02\x1b[2J" + bytes(200)


def _wrong_way_out(message: Message) -> None:
    _hostile_name(message)
    message.payloads.append(wire.Notify(0, b"", NotifyType.NO_PPK_AUTH, bytes(32)))


@pytest.mark.parametrize(("lie", "cause"), [(_no_name, "ppk"), (_hostile_name, "ppk"), (_wrong_way_out, "eap-key")])
def test_a_caller_that_lies_under_the_right_keys_is_refused(
    lie: Lie, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine is ours, but for what it says of its key."""
    real = ppk.prove

    def lying(core: Core, sa: IkeSa, make: Callable[[], list[wire.Payload]]) -> list[wire.Payload]:
        message = Message(b"", b"", 35, True, False, 0, real(core, sa, make))
        lie(message)
        return message.payloads

    monkeypatch.setattr(ppk, "prove", lying)
    network = Network(1)
    a, b = mixed(network, (ONE,), (ONE,), (True, False))
    network.run(5)
    assert not established_any(a) and not established_any(b)
    assert attempt(b).cause == cause
    assert "\x1b" not in attempt(b).reason


@pytest.mark.parametrize("exchange", [AUTH, EARLY])
@pytest.mark.parametrize(
    ("caller", "first", "stands"),
    [((), (), False), ((ONE,), (), False), ((ONE,), (ONE,), True), ((TWO,), (TWO,), False)],
)
def test_a_later_round_leads_to_no_entry_whose_key_is_missing(
    exchange: PpkExchange, caller: Keys, first: Keys, stands: bool
) -> None:
    network = Network(9)
    _, b = mixed(network, caller, (), exchange=exchange, **KINDS["a key, then eap"])
    now = b.engine.core.snapshot
    (one,) = now.peers.values()
    names = tuple(key.name for key in first)
    lax = replace(one, name="lax", remote_id=IdentityPattern.parse("laptop.example"), ppks=names)
    strict = replace(one, name="strict", remote_id=IdentityPattern.parse("anna"), ppks=(ONE.name,), ppk_required=True)
    both = Snapshot.build(2, [lax, strict], [psk()], users=now.users.values(), ppks=(ONE, TWO))
    network.perform(b, b.engine.apply(both, network.now)[1])
    network.run(60)
    sas = [sa for sa in b.engine.ike_sas() if sa.peer is not None and sa.peer.name == "strict" and sa.children]
    assert bool(sas) is stands
    if not stands:
        assert attempt(b).cause == "ppk"
