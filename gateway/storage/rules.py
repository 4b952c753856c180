"""What holds for the whole gateway, as it is written: shunts, blocked sources, settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.storage.fields import LATEST, Count, Described, Flag, Line, Named, NamedByNetwork, Seconds
from gateway.storage.post_quantum import PostQuantumFrom


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
