"""Access profiles, as they are written: what users reach, and what they are told."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.storage.fields import Count, Described, Flag, Line, Name, Named
from gateway.storage.people import Domains, Hosts


class AccessProfileFields(Described):
    """What its users reach of all that a peer's children let in; they have it by their own choice or by a group's."""

    networks: Annotated[
        tuple[Line, ...],
        Field(
            max_length=64,
            description="Where packets may go, with a protocol and ports where that is not all: the gateway drops the "
            "rest. None, in a full tunnel: anywhere",
            examples=[["10.1.0.0/24", "fd01::/64", "10.2.0.80[tcp/443]"]],
        ),
    ] = ()
    tunnel: Annotated[
        Literal["split", "full"],
        Field(
            description="split: the tunnel carries packets for these networks alone, all else goes its usual way; "
            "full: it carries all that the peer's children take, be it allowed or not"
        ),
    ] = "split"
    groups: Annotated[
        tuple[Name, ...],
        Field(
            max_length=64,
            description="For users of these groups who name no profile of their own; of several groups of a user the "
            "first with a profile counts",
            examples=[["staff"]],
        ),
    ] = ()
    pools: Annotated[
        tuple[Name, ...],
        Field(max_length=16, description="Where their addresses come from; none: the peer's pools", examples=[[]]),
    ] = ()
    dns: Annotated[Hosts, Field(description="DNS servers that they are told of; none: the pool's")] = ()
    domains: Domains = ()
    esp_proposals: Annotated[
        tuple[Name, ...],
        Field(max_length=16, description="For their traffic, in place of the child's own", examples=[[]]),
    ] = ()
    ike_proposals: Annotated[
        tuple[Name, ...],
        Field(
            max_length=16,
            description="Who comes by algorithms that are in none of these is refused once he has proven himself: "
            "they were agreed on before anybody knew who he is; none: whatever the peer's allow",
            examples=[[]],
        ),
    ] = ()
    masquerade: Annotated[
        Flag, Field(description="What leaves the gateway by no tunnel gets the gateway's own address there (NAT)")
    ] = False
    sessions: Annotated[
        Count, Field(ge=0, le=1000, description="How many at one time, for users without a limit; 0: no limit")
    ] = 0


class AccessProfileObject(AccessProfileFields, Named):
    """An access profile with its name."""
