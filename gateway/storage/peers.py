"""Peers and their children, and the proposals and pre-shared keys that they agree by, as they are written."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.storage.fields import LARGEST_COUNT, Count, Described, Flag, Line, Name, Named, Seconds
from gateway.storage.identity import LocalAuthFields, RemoteAuthFields
from gateway.storage.post_quantum import PostQuantumFrom


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
