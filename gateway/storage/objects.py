"""The configuration as an administrator writes it: peers, children, proposals and keys, with their forms and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.devices import DeviceObject
from gateway.storage.fields import (
    LARGEST_COUNT,
    LATEST,
    Count,
    Described,
    Flag,
    Line,
    Name,
    Named,
    NamedByNetwork,
    Seconds,
)
from gateway.storage.identity import AuthorityObject, CertificateObject, LocalAuthFields, RemoteAuthFields
from gateway.storage.people import PoolObject, RadiusObject, UserObject
from gateway.storage.post_quantum import PostQuantumFrom, PpkObject

# In the order in which they may refer to each other.
KINDS = (
    "proposals",
    "psks",
    "ppks",
    "authorities",
    "certificates",
    "pools",
    "access_profiles",
    "users",
    "devices",
    "radius",
    "peers",
    "shunts",
    "blocks",
)
SETTINGS = ("settings", "gateway")  # the one object of its kind, by kind and name
SEALED = {  # kinds that have a secret beside them, and the field that it comes in by
    "psks": "secret",
    "ppks": "secret",
    "authorities": "private_key",
    "certificates": "private_key",
    "peers": "eap_password",
    "users": "password",
    "radius": "secret",
}
FURTHER = {"totp": ("users", "totp_secret")}
"""What is sealed besides, by the word that stands for the kind in `Inventory.secrets`: the kind, and its column."""
CHILDREN = "children"  # objects inside a peer; one is named as `peer/child`
KEYS = {"blocks": "network"}  # the field that names an object, where that is not `name`


class ProposalFields(Described):
    """Algorithms to agree on, best first, as strongSwan's keywords."""

    protocol: Literal["ike", "esp"]
    suites: Annotated[tuple[Line, ...], Field(min_length=1, max_length=32, examples=[["aes256gcm16-prfsha256-x25519"]])]


class ProposalObject(ProposalFields, Named):
    """A proposal with its name."""


class PskFields(Described):
    """Whose a pre-shared key is; empty lists stand for anybody. The key itself is never part of it."""

    local_ids: Annotated[tuple[Line, ...], Field(max_length=64)] = ()
    remote_ids: Annotated[tuple[Line, ...], Field(max_length=64, examples=[["sun.example"]])] = ()


class PskObject(PskFields, Named):
    """A pre-shared key with its name, without its secret."""


class ChildFields(Described):
    """Which networks are joined with a peer, how their traffic is protected and when that starts."""

    local_selectors: Annotated[
        tuple[Line, ...],
        Field(max_length=256, description="None: the address that the peer gives us", examples=[["10.1.0.0/24"]]),
    ]
    remote_selectors: Annotated[
        tuple[Line, ...],
        Field(max_length=256, description="None: the address of our pools", examples=[["10.2.0.0/24[tcp/443]"]]),
    ]
    esp_proposals: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)] = ("modern-esp",)
    start: Literal["always", "on-demand", "passive"] = "always"
    rekey_time: Annotated[Seconds, Field(ge=1, le=604_800, description="Seconds")] = 3600.0
    replay_window: Annotated[Count, Field(ge=0, le=4096, description="Packets")] = 128
    mode: Annotated[
        Literal["tunnel", "transport"],
        Field(description="tunnel: whole packets, between networks; transport: payloads alone, between two hosts"),
    ] = "tunnel"
    rekey_octets: Annotated[
        Count, Field(ge=0, le=LARGEST_COUNT, description="New keys after so many, either way; 0: no limit")
    ] = 0
    rekey_packets: Annotated[
        Count, Field(ge=0, le=LARGEST_COUNT, description="New keys after so many, either way; 0: no limit")
    ] = 0
    idle_timeout: Annotated[
        Seconds, Field(ge=0, le=604_800, description="Seconds without a packet after which it is taken down; 0: never")
    ] = 0.0
    when_down: Annotated[
        Literal["drop", "pass"],
        Field(
            description="Its packets while nothing protects them: dropped, or let past in the clear. What is dropped "
            "is all that the selectors hold, in both directions, but IKE itself: with a selector such as 0.0.0.0/0 "
            "that may be DNS, SSH and this console too, for which a shunt with the action `pass` makes an exception. "
            "In transport mode it is only what goes to the peer's configured addresses; a route-based child drops "
            "what is routed into its interface"
        ),
    ] = "drop"
    interface_id: Annotated[
        Count,
        Field(
            ge=0,
            le=0xFFFFFFFF,
            description="Not 0: only what is routed into the XFRM interface of this id is protected",
            examples=[0, 7],
        ),
    ] = 0
    interface: Annotated[
        str,
        StringConstraints(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,14})?$"),
        Field(description="That interface's name, up to 15 characters; empty: ipsec and the id", examples=["office"]),
    ] = ""
    mark: Annotated[
        Line | None,
        Field(description="Only packets with these mark bits: value/mask; null: all", examples=["0x10/0xff"]),
    ] = None
    single_pair: Annotated[
        Flag, Field(description="A CHILD_SA for each pair of networks, for peers that cannot hold several in one")
    ] = False
    offload: Annotated[
        Literal["none", "crypto", "packet"],
        Field(description="What of ESP the network device does; the device and its driver must be able to"),
    ] = "none"
    copy_dscp: Annotated[Flag, Field(description="Show the inner packets' priority (DSCP) outside")] = False
    copy_df: Annotated[Flag, Field(description="Copy the inner packets' don't-fragment bit to the outside")] = True
    mss: Annotated[
        Count,
        Field(ge=0, le=65_495, description="Largest TCP segment let through, in octets, from 536; 0: as it is"),
    ] = 0
    groups: Annotated[
        tuple[Name, ...], Field(max_length=64, description="For users of these groups alone; none: for everybody")
    ] = ()


class ChildObject(ChildFields, Named):
    """A child with its name."""


class RetransmitFields(BaseModel):
    """How long we ask again before the peer counts as gone: waits of base * factor**n seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tries: Annotated[Count, Field(ge=1, le=20)] = 5
    base: Annotated[Seconds, Field(ge=0.1, le=60, description="Seconds")] = 2.0
    factor: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1, le=5)] = 1.8
    jitter: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)] = 0.1


class PeerFields(Described):
    """One other end: where it is, who it is, how we agree with it, and its children."""

    enabled: Flag = True
    local_id: Annotated[
        Line | None, Field(description="Who we say we are; null: our address", examples=["moon.example"])
    ] = None
    remote_id: Annotated[Line, Field(description="Whom we accept: an identity, a pattern or %any")] = "%any"
    local_addresses: Annotated[tuple[Line, ...], Field(max_length=64)] = ()
    remote_addresses: Annotated[
        tuple[Line, ...],
        Field(
            max_length=64, description="Addresses, networks or DNS names; empty: it calls us", examples=[["192.0.2.1"]]
        ),
    ] = ()
    remote_port: Annotated[Count, Field(ge=1, le=65535)] = 500
    ike_proposals: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)] = ("modern-pq-ike",)
    dpd_delay: Annotated[Seconds, Field(ge=0, le=86_400, description="Seconds of silence before we ask; 0: never")] = (
        30.0
    )
    rekey_time: Annotated[Seconds, Field(ge=1, le=604_800, description="Seconds")] = 14_400.0
    retransmit: RetransmitFields = RetransmitFields()
    force_encapsulation: Flag = False
    unique: Literal["replace", "keep", "never"] = "replace"
    reauth_time: Annotated[
        Seconds, Field(ge=0, le=2_592_000, description="Seconds after which both prove themselves anew; 0: never")
    ] = 0.0
    mobike: Annotated[Flag, Field(description="Follow a change of address without a new IKE SA (RFC 4555)")] = True
    fragment_octets: Annotated[
        Count,
        Field(
            ge=0,
            le=65_535,
            description="IKE messages larger than this IP datagram go in fragments (RFC 7383); 0: whole, else from 576",
            examples=[1280],
        ),
    ] = 1280
    childless: Annotated[Flag, Field(description="Set up the IKE SA first, then its children (RFC 6023)")] = False
    redirect: Annotated[Flag, Field(description="Let this peer send us to another gateway (RFC 5685)")] = True
    resumption: Annotated[Flag, Field(description="Come back with a ticket instead of a full proof (RFC 5723)")] = True
    dscp: Annotated[Count, Field(ge=0, le=63, description="Priority that IKE's own datagrams carry")] = 0
    local_auth: Annotated[
        tuple[LocalAuthFields, ...],
        Field(min_length=1, max_length=4, description="How we prove ourselves, round by round (RFC 4739)"),
    ] = (LocalAuthFields(),)
    remote_auth: Annotated[
        tuple[RemoteAuthFields, ...],
        Field(min_length=1, max_length=4, description="How the peer must prove itself, round by round"),
    ] = (RemoteAuthFields(),)
    pools: Annotated[
        tuple[Name, ...],
        Field(max_length=16, description="Where the peer's address comes from, when it asks for one", examples=[[]]),
    ] = ()
    virtual_ip: Annotated[Flag, Field(description="Ask the peer for addresses of its own network when we call")] = False
    redirect_to: Annotated[
        str,
        StringConstraints(max_length=253),
        Field(
            description="Where this peer is sent when it has proven itself (RFC 5685): an address or a DNS name; "
            "empty: it is served here",
            examples=[""],
        ),
    ] = ""
    ppks: Annotated[
        tuple[Name, ...],
        Field(
            max_length=8,
            description="Post-quantum pre-shared keys, the best first: any is accepted; in IKE_INTERMEDIATE all are "
            "offered, in IKE_AUTH the first alone",
            examples=[[]],
        ),
    ] = ()
    ppk_required: Annotated[Flag, Field(description="No IKE SA without one of them")] = False
    ppk_exchange: Annotated[
        Literal["either", "intermediate", "auth"],
        Field(
            description="Where one of them is mixed in: in IKE_INTERMEDIATE (RFC 9867), which protects the identities "
            "and the IKE SA itself, too; in IKE_AUTH (RFC 8784), which more peers know; or either, the first where "
            "both ends can"
        ),
    ] = "either"
    post_quantum: Annotated[
        Literal["default", "off", "prefer", "require"],
        Field(
            description="What is demanded of its keys against quantum computers. prefer: suites with ML-KEM go "
            "first, and who falls back is reported; require: no IKE SA without ML-KEM or a PPK; off: the proposals "
            "alone decide; default: as the settings say"
        ),
    ] = "default"
    post_quantum_from: PostQuantumFrom = None
    children: Annotated[tuple[ChildObject, ...], Field(max_length=256)] = ()


class PeerObject(PeerFields, Named):
    """A peer with its name."""

    def child(self, name: str) -> ChildObject | None:
        return next((child for child in self.children if child.name == name), None)


class ShuntFields(Described):
    """Traffic that never enters a tunnel: let past in the clear, or dropped. Every shunt wins over every child."""

    action: Annotated[Literal["pass", "drop"], Field(description="pass: let past in the clear; drop: thrown away")]
    local_selectors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=256, examples=[["10.1.0.0/24"]])]
    remote_selectors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=256, examples=[["10.1.0.0/16"]])]
    priority: Annotated[
        Count, Field(ge=0, le=10_000, description="Among shunts, the lower number wins where two mean one packet")
    ] = 100


class ShuntObject(ShuntFields, Named):
    """A shunt with its name."""


class BlockFields(BaseModel):
    """Why a source is blocked, and until when (Unix time in seconds; null: until it is taken away)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, StringConstraints(max_length=1000), Field(examples=["guesses identities"])] = ""
    expires_at: Annotated[Seconds | None, Field(ge=0, le=LATEST, examples=[1_900_000_000])] = None


class BlockObject(BlockFields, NamedByNetwork):
    """A network whose datagrams are dropped unread."""


class SettingsObject(BaseModel):
    """Limits and times of the whole gateway."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_open_timeout: Annotated[
        Seconds, Field(ge=1, le=600, description="Seconds that an IKE SA may take to be set up")
    ] = 30.0
    half_open_limit: Annotated[
        Count, Field(ge=1, le=1_000_000, description="IKE SAs being set up by peers at one time; more are not begun")
    ] = 10_000
    half_open_per_source: Annotated[
        Count, Field(ge=1, le=1_000_000, description="Of these, from one address; more must show a cookie, then wait")
    ] = 64
    cookie_threshold: Annotated[
        Count, Field(ge=0, le=1_000_000, description="From so many on, each newcomer must show a cookie; 0: always")
    ] = 64
    cookie_lifetime: Annotated[Seconds, Field(ge=5, le=3600, description="Seconds that a cookie is good for")] = 60.0
    puzzles: Annotated[
        Flag, Field(description="Under pressure, let newcomers solve puzzles first (RFC 8019); few peers can")
    ] = False
    keepalive: Annotated[Seconds, Field(ge=1, le=3600, description="Seconds between keepalives through our NAT")] = 20.0
    retry_base: Annotated[
        Seconds, Field(ge=0.1, le=3600, description="Seconds until a lost tunnel is tried again; then ever longer")
    ] = 2.0
    retry_limit: Annotated[Seconds, Field(ge=0.1, le=86_400, description="Seconds that this wait grows to")] = 300.0
    attempts_kept: Annotated[Count, Field(ge=1, le=100_000, description="Attempts that are remembered")] = 2_000
    redirect_to: Annotated[
        str,
        StringConstraints(max_length=253),
        Field(
            description="Where peers that can be redirected are sent (RFC 5685): an address or a DNS name; empty: "
            "they are served here",
            examples=["vpn2.example.net"],
        ),
    ] = ""
    post_quantum: Annotated[
        Literal["off", "prefer", "require"],
        Field(description="What is demanded of the keys of each peer that says nothing of it itself; see there"),
    ] = "prefer"
    post_quantum_from: PostQuantumFrom = None


ConfigObject = (
    ProposalObject
    | PskObject
    | PpkObject
    | AuthorityObject
    | CertificateObject
    | PoolObject
    | AccessProfileObject
    | UserObject
    | DeviceObject
    | RadiusObject
    | PeerObject
    | ShuntObject
    | BlockObject
    | SettingsObject
)
STORED: Mapping[str, type[ConfigObject]] = {
    "proposals": ProposalObject,
    "psks": PskObject,
    "ppks": PpkObject,
    "authorities": AuthorityObject,
    "certificates": CertificateObject,
    "pools": PoolObject,
    "access_profiles": AccessProfileObject,
    "users": UserObject,
    "devices": DeviceObject,
    "radius": RadiusObject,
    "peers": PeerObject,
    "shunts": ShuntObject,
    "blocks": BlockObject,
    SETTINGS[0]: SettingsObject,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a document: where (RFC 6901 pointer), a stable code, and a sentence."""

    pointer: str
    code: str
    detail: str


class Invalid(Exception):
    """A document cannot be taken; `errors` says where and why."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.pointer or 'document'}: {error.detail}" for error in errors))
        self.errors = errors


def kind_of_secret(word: str) -> str:
    """Of which kind the object is that a secret goes with."""
    return FURTHER[word][0] if word in FURTHER else word


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one revision by name, and their secrets apart from them.

    `secrets` holds the octets that go with an object, `(kind, name)` of SEALED or `(word, name)` of FURTHER. `changed`
    says in which revision an object, `(kind, name)` or `("children", "peer/child")`, got its present content.
    """

    revision: int = 0
    proposals: Mapping[str, ProposalObject] = field(default_factory=dict)
    psks: Mapping[str, PskObject] = field(default_factory=dict)
    peers: Mapping[str, PeerObject] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    changed: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)
    shunts: Mapping[str, ShuntObject] = field(default_factory=dict)
    blocks: Mapping[str, BlockObject] = field(default_factory=dict)
    settings: SettingsObject = field(default_factory=SettingsObject)
    authorities: Mapping[str, AuthorityObject] = field(default_factory=dict)
    certificates: Mapping[str, CertificateObject] = field(default_factory=dict)
    ppks: Mapping[str, PpkObject] = field(default_factory=dict)
    pools: Mapping[str, PoolObject] = field(default_factory=dict)
    users: Mapping[str, UserObject] = field(default_factory=dict)
    radius: Mapping[str, RadiusObject] = field(default_factory=dict)
    access_profiles: Mapping[str, AccessProfileObject] = field(default_factory=dict)
    devices: Mapping[str, DeviceObject] = field(default_factory=dict)

    def objects(self, kind: str) -> Mapping[str, ConfigObject]:
        """The objects of one of KINDS, by name; of the settings, which are one."""
        if kind == SETTINGS[0]:
            return {SETTINGS[1]: self.settings}
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of object")
        found: Mapping[str, ConfigObject] = getattr(self, kind)
        return found

    def secrets_of(self, kind: str, name: str) -> dict[str, bytes]:
        """An object's secrets, by their columns."""
        words = {
            kind: SEALED.get(kind, ""),
            **{word: field for word, (owner, field) in FURTHER.items() if owner == kind},
        }
        return {field: self.secrets[word, name] for word, field in words.items() if (word, name) in self.secrets}

    def touched(self, old: "Inventory", kind: str) -> list[str]:
        """Names of the objects that are not the very same as in an older inventory, or have another secret.

        Few of ten thousand are, and only those need a look.
        """
        was, now = old.objects(kind), self.objects(kind)
        names = {name for name, thing in now.items() if was.get(name) is not thing} | (was.keys() - now.keys())
        if self.secrets is not old.secrets:
            both = self.secrets.keys() | old.secrets.keys()
            names |= {
                key[1]
                for key in both
                if kind_of_secret(key[0]) == kind and self.secrets.get(key) != old.secrets.get(key)
            }
        return sorted(names)
