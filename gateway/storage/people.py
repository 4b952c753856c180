"""Users, and the pools that their addresses come from, as they are written."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.storage.fields import LATEST, Count, Described, Flag, Line, Name, Named, Reference, Seconds

Ranges = Annotated[tuple[Line, ...], Field(max_length=64, examples=[["10.9.0.0/24", "fd00:9::/64"]])]
Hosts = Annotated[tuple[Line, ...], Field(max_length=16, examples=[["10.1.0.53"]])]
Domains = Annotated[
    tuple[Line, ...],
    Field(
        max_length=64,
        description="Only names of these domains are asked of these DNS servers (RFC 8598); none: all",
        examples=[["corp.example"]],
    ),
]


class ReservationFields(BaseModel):
    """An address that only this identity is given, and always."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: Annotated[Line, Field(examples=["boss@example.com"])]
    address: Annotated[Line, Field(examples=["10.9.0.5"])]


class PoolFields(Described):
    """Addresses for those who ask for one when they call, and what they are told beside it."""

    networks: Annotated[
        tuple[Line, ...],
        Field(
            min_length=1,
            max_length=64,
            description="Networks or ranges; a network's first address is not given out, nor IPv4's last",
            examples=[["10.9.0.0/24", "fd00:9::/64"]],
        ),
    ]
    excluded: Annotated[Ranges, Field(description="Of these, what is never given out")] = ()
    dns: Annotated[Hosts, Field(description="Addresses of DNS servers")] = ()
    nbns: Annotated[Hosts, Field(description="IPv4 addresses of NetBIOS name servers (WINS)")] = ()
    domains: Domains = ()
    subnets: Annotated[
        tuple[Line, ...],
        Field(max_length=64, description="Networks told as reached through us; none: the local ones of the children"),
    ] = ()
    reservations: Annotated[tuple[ReservationFields, ...], Field(max_length=10_000)] = ()


class PoolObject(PoolFields, Named):
    """A pool with its name."""


class UserFields(Described):
    """A person who may come in; the password is never part of it."""

    enabled: Annotated[Flag, Field(description="Who is disabled is cut off at once")] = True
    login: Annotated[
        str,
        StringConstraints(max_length=253, pattern=r"^[^\x00-\x20\x7f]*$"),
        Field(description="The name that EAP asks for; empty: the object's name", examples=["anna@example.com"]),
    ] = ""
    identities: Annotated[
        tuple[Line, ...],
        Field(
            max_length=32, description="IKE identities that are this person beside the login, such as a certificate's"
        ),
    ] = ()
    expires_at: Annotated[
        Seconds | None, Field(ge=0, le=LATEST, description="Unix time from which he is cut off; null: never")
    ] = None
    groups: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    addresses: Annotated[
        tuple[Line, ...], Field(max_length=8, description="Addresses of the pools that are always his, and only his")
    ] = ()
    sessions: Annotated[Count, Field(ge=0, le=1000, description="How many at one time; 0: no limit")] = 0
    access_profile: Annotated[
        Reference,
        Field(description="What he reaches; empty: the profile of the first of his groups that has one, else all"),
    ] = ""


class UserObject(UserFields, Named):
    """A user with the name."""


class RadiusFields(Described):
    """A RADIUS server that decides who may come in by EAP; the secret is never part of it."""

    address: Annotated[Line, Field(description="An address, no name", examples=["192.0.2.9"])]
    port: Annotated[Count, Field(ge=1, le=65535)] = 1812
    accounting_port: Annotated[Count, Field(ge=1, le=65535)] = 1813
    timeout: Annotated[Seconds, Field(ge=0.1, le=30, description="Seconds until it is asked again")] = 2.0
    tries: Annotated[Count, Field(ge=1, le=10, description="How often it is asked before the next server is")] = 3
    priority: Annotated[Count, Field(ge=0, le=1000, description="Lower ones are asked first")] = 100
    accounting: Annotated[Flag, Field(description="Tell it who comes, how much goes through, and who goes")] = True
    interim_interval: Annotated[
        Seconds,
        Field(ge=0, le=86400, description="Seconds between reports where the server names none, 60 at least; 0: none"),
    ] = 0.0
    dynamic: Annotated[Flag, Field(description="It may end and change sessions: UDP port 3799 is open to it")] = False
    unsigned_rejects: Annotated[
        Flag,
        Field(description="Believe a refusal without Message-Authenticator, as servers of before 2024 may send it"),
    ] = False


class RadiusObject(RadiusFields, Named):
    """A RADIUS server with its name, without its secret."""
