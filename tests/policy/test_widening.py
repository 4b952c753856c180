"""What is said of edits that open more than they name."""

from dataclasses import replace
from time import process_time
from typing import Any

import pytest

from gateway.policy.access import AccessProfile
from gateway.policy.authentication import Method, RemoteAuth
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk
from gateway.policy.radius import RadiusServer
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import Device, User
from gateway.policy.widening import widened


def nets(*texts: str) -> tuple[Selector, ...]:
    return tuple(map(Selector.parse, texts))


NET = Child("net", nets("10.1.0.0/24", "10.2.0.0/24"), (), ())
PEOPLE = Peer(
    "people", IdentityPattern.parse("*@example.com"), (), (NET,), Identity.parse("gate.example"), pools=("office",)
)
KEY = Psk("all", b"k" * 20)
WEB = AccessProfile("web", nets("10.1.0.0/28", "10.1.0.80/32[tcp/443]"), groups=("staff",))
ANNA = User("anna@example.com", groups=("lab", "staff"))
BERT = User("bert@example.com", access_profile="web")
ALL = "10.1.0.0/24 and 10.2.0.0/24 by people/net"
SERVER = RadiusServer("one", "192.0.2.9", b"s")


def policy(*users: User, profiles: tuple[AccessProfile, ...] = (WEB,), peer: Peer = PEOPLE, **more: Any) -> Snapshot:
    return Snapshot.build(1, [peer], more.pop("psks", [KEY]), users=users, access_profiles=profiles, **more)


def by(method: Method, *eap: str) -> Peer:
    return replace(PEOPLE, remote_auth=(RemoteAuth(method, eap_methods=eap),))


@pytest.mark.parametrize("peer", [PEOPLE, by(Method.CERTIFICATE), by(Method.PUBLIC_KEY), by(Method.EAP, "mschapv2")])
def test_a_profile_that_is_taken_away_opens_all_that_the_children_carry(peer: Peer) -> None:
    before, after = policy(ANNA, BERT, peer=peer), policy(ANNA, replace(BERT, access_profile=""), peer=peer)
    assert widened(before, after) == (
        f"bert@example.com has no access profile any more (web until now), and reaches {ALL}.",
    )
    assert widened(after, before) == ()


def test_a_group_that_loses_its_profile_is_told_with_all_who_are_in_it() -> None:
    carl = replace(ANNA, name="carl@example.com")
    before = policy(ANNA, carl)
    text = f"anna@example.com and carl@example.com have no access profile any more (web until now), and reach {ALL}."
    assert widened(before, policy(ANNA, carl, profiles=())) == (text,)
    assert widened(before, policy(ANNA, carl, profiles=(replace(WEB, groups=()),))) == (text,)


def test_who_leaves_the_group_that_has_a_profile_is_told() -> None:
    assert widened(policy(ANNA), policy(replace(ANNA, groups=("lab",)))) == (
        f"anna@example.com has no access profile any more (web until now), and reaches {ALL}.",
    )


def test_another_profile_is_told_where_it_reaches_further_and_only_there() -> None:
    wide = AccessProfile("wide", nets("10.1.0.0/25"), groups=("lab",))
    narrow = AccessProfile("narrow", nets("10.1.0.0/29"), groups=("lab",))
    assert widened(policy(ANNA), policy(ANNA, profiles=(WEB, wide))) == (
        "anna@example.com has the access profile wide now (web until now), and reaches 10.1.0.0/25 by people/net.",
    )
    assert widened(policy(ANNA), policy(ANNA, profiles=(WEB, narrow))) == ()


@pytest.mark.parametrize(
    ("edited", "reached"),
    [
        (replace(WEB, networks=nets("10.1.0.0/28", "10.1.0.80/32")), "10.1.0.0/28 and 10.1.0.80/32 by people/net"),
        (replace(WEB, networks=(), full_tunnel=True), ALL),
        (replace(WEB, full_tunnel=True), ""),
        (replace(WEB, networks=nets("10.1.0.0/29")), ""),
        (replace(WEB, networks=nets("10.77.0.0/16", "10.1.0.0/28")), ""),
        (replace(WEB, description="Web"), ""),
    ],
)
def test_a_profile_that_changes_is_told_where_more_of_a_child_is_reached(edited: AccessProfile, reached: str) -> None:
    text = f"anna@example.com has the access profile web, which changes, and reaches {reached}."
    assert widened(policy(ANNA), policy(ANNA, profiles=(edited,))) == ((text,) if reached else ())


def test_groups_that_open_a_child_are_told() -> None:
    peer = replace(PEOPLE, children=(NET, replace(NET, name="lab", local=nets("10.3.0.0/24"), groups=("lab",))))
    plain = User("dora@example.com")
    assert widened(policy(plain, peer=peer), policy(replace(plain, groups=("lab",)), peer=peer)) == (
        "dora@example.com has other groups now, and reaches 10.3.0.0/24 by people/lab.",
    )


def test_a_child_that_is_for_no_group_any_more_is_for_all() -> None:
    peer = replace(PEOPLE, children=(replace(NET, groups=("staff", "lab")),))
    assert widened(policy(ANNA, peer=peer), policy(ANNA)) == (
        "people/net was for staff and lab alone, and is for all who come in by people now.",
    )


def test_a_former_user_whom_a_key_lets_in_is_told() -> None:
    how = "is no user any more, but by a pre-shared key whoever proves to be that still comes in"
    assert widened(policy(ANNA, BERT), policy(BERT)) == (f"anna@example.com {how}, and reaches {ALL}.",)
    other = Psk("bert", b"k" * 20, remote_ids=(IdentityPattern.parse("bert@example.com"),))
    assert widened(policy(ANNA, psks=[other]), policy(psks=[other])) == ()


def test_a_former_user_of_passwords_is_out_unless_radius_lets_him_in() -> None:
    peer = by(Method.EAP, "radius")
    assert widened(policy(ANNA, peer=by(Method.EAP, "mschapv2")), policy(peer=by(Method.EAP, "mschapv2"))) == ()
    (text,) = widened(policy(ANNA, peer=peer, radius=[SERVER]), policy(peer=peer, radius=[SERVER]))
    assert text.startswith("anna@example.com is no user any more, but by RADIUS whoever proves to be that")


def test_the_certificates_of_a_former_users_devices_are_revoked_and_no_way_in() -> None:
    peer = by(Method.CERTIFICATE)
    phone = Identity.parse("anna+phone@example.com")
    anna = User("anna", identities=(phone,), devices=(Device("anna/phone", b"c", (phone,)),))
    assert widened(policy(anna, peer=peer), policy(peer=peer)) == ()
    by_mail = replace(anna, name="anna@example.com")
    assert widened(policy(by_mail, peer=peer), policy(peer=peer)) == ()
    card = replace(anna, identities=(phone, Identity.parse("anna@example.com")))
    (text,) = widened(policy(card, peer=peer), policy(peer=peer))
    assert text.startswith("anna is no user any more, but by a certificate whoever proves to be that still comes in")


def test_groups_that_radius_names_are_told_though_no_user_is_in_them() -> None:
    peer = by(Method.EAP, "radius")
    before, after = policy(peer=peer, radius=[SERVER]), policy(peer=peer, radius=[SERVER], profiles=())
    assert widened(before, after) == (
        f"whoever RADIUS puts into the group staff has no access profile any more (web until now), and reaches {ALL}.",
    )
    assert widened(policy(peer=peer), policy(peer=peer, profiles=())) == ()


def test_peers_of_others_are_no_matter_of_a_user() -> None:
    other = replace(PEOPLE, remote_id=IdentityPattern.parse("other.example"))
    assert widened(policy(BERT, peer=other), policy(replace(BERT, access_profile=""), peer=other)) == ()
    disabled = replace(PEOPLE, enabled=False)
    assert widened(policy(BERT, peer=disabled), policy(replace(BERT, access_profile=""), peer=disabled)) == ()


def test_a_rich_configuration_is_looked_through_in_a_moment() -> None:
    """Ten thousand users lose a profile of a thousand networks, by three thousand peers: each is looked at once."""
    networks = tuple(Selector.parse(f"10.{50 + one // 200}.{one % 200}.0/24") for one in range(1000))
    rich = AccessProfile("rich", networks, groups=("staff",))
    crowd = [User(f"user{number}@example.com", groups=("staff",)) for number in range(10_000)]
    sites = [
        replace(PEOPLE, name=f"site{one}", remote_id=IdentityPattern.parse(f"site{one}.example")) for one in range(3000)
    ]
    before = Snapshot.build(1, [PEOPLE, *sites], [KEY], users=crowd, access_profiles=[rich])
    after = Snapshot.build(2, [PEOPLE, *sites], [KEY], users=crowd)
    began = process_time()
    assert len(widened(before, after)) == 1
    assert process_time() - began < 5


def test_many_are_counted() -> None:
    crowd = [User(f"user{number}@example.com", groups=("staff",)) for number in range(1000)]
    (text,) = widened(policy(*crowd), policy(*crowd, profiles=()))
    assert text.startswith("user0@example.com, user1@example.com, user2@example.com and 997 more have no access")
