"""What negotiations left behind: /attempts, /attempts/{number}, /attempts/{number}/messages."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from gateway.ike.attempts import Attempt
from gateway.service.manage import NotFound
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from web.api.common import LIST, MOST, READ, Number, Page, ReadState
from web.dependencies import current_gateway

router = APIRouter(tags=["attempts"])


class StepAnswer(BaseModel):
    """A station of the negotiation; `done` is false where it ended."""

    step: str
    done: bool
    at: float
    text: str


class MessageAnswer(BaseModel):
    """One IKE message, without its secrets."""

    at: float
    outgoing: bool
    exchange: str
    response: bool
    message_id: int
    octets: int
    payloads: list[str]


class AttemptAnswer(BaseModel):
    """One negotiation in one line; times are Unix seconds."""

    id: int
    started: float
    ended: float | None
    initiator: bool
    local: str
    remote: str
    local_id: str
    remote_id: str
    eap_identity: str = Field(description="As whom one end wanted to prove itself by EAP; empty without EAP")
    peer: str | None
    ike_sa: int | None
    outcome: str = Field(examples=["running", "established", "failed"])
    cause: str = Field(examples=["no-proposal", "authentication-failed", "timeout"])
    notify: str | None
    reason: str
    advice: str


class ConsideredAnswer(BaseModel):
    """A peer that came into question for a caller, and why it fell out."""

    peer: str
    why: str


class LinkAnswer(BaseModel):
    """One certificate of the chain by which the other side proved itself; `fault` is what is wrong with it."""

    subject: str
    issuer: str
    serial: str = Field(description="Hexadecimal")
    begins: str
    ends: str
    key: str = Field(examples=["ECDSA P-384"])
    fault: str


class AttemptDetail(AttemptAnswer):
    """One negotiation with its steps, and both sides' lists where they did not meet."""

    steps: list[StepAnswer]
    offered: list[str]
    acceptable: list[str]
    differences: list[str]
    considered: list[ConsideredAnswer] = Field(description="Where a caller fits no peer: the closest first")
    chain: list[LinkAnswer] = Field(description="The other side's own certificate first, the trusted authority last")
    messages: int = Field(description="How many are kept; see /attempts/{number}/messages")


@router.get("/attempts", responses=LIST)
async def list_attempts(
    request: Request,
    _: ReadState,
    peer: Annotated[str | None, Query(max_length=63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, le=MOST, description="Only attempts with a lower id")] = None,
) -> Page[AttemptAnswer]:
    """The newest first; `next_cursor` is the `before` of the next page."""
    gateway = current_gateway(request)
    kept = gateway.config.snapshot().settings.attempts_kept
    found = gateway.attempts(peer=peer, limit=limit + 1 if before is None else kept)
    rest = [attempt for attempt in found if before is None or attempt.id < before]
    following = str(rest[limit - 1].id) if len(rest) > limit else None
    return Page(items=[AttemptAnswer(**_line(attempt)) for attempt in rest[:limit]], next_cursor=following)


@router.get("/attempts/{number}", responses=READ)
async def get_attempt(request: Request, _: ReadState, number: Number) -> AttemptDetail:
    attempt = _found(request, number)
    return AttemptDetail(
        **_line(attempt),
        steps=[StepAnswer(step=step.step, done=step.done, at=step.at, text=step.text) for step in attempt.steps],
        offered=list(attempt.offered),
        acceptable=list(attempt.acceptable),
        differences=list(attempt.differences),
        considered=[ConsideredAnswer(**asdict(one)) for one in attempt.considered],
        chain=[LinkAnswer(**asdict(one)) for one in attempt.chain],
        messages=len(attempt.messages),
    )


@router.get("/attempts/{number}/messages", responses=READ)
async def list_messages(request: Request, _: ReadState, number: Number) -> Page[MessageAnswer]:
    """The messages of a negotiation, in the order seen."""
    messages = [
        MessageAnswer(
            at=message.at,
            outgoing=message.outgoing,
            exchange=name_of(ExchangeType, message.exchange),
            response=message.response,
            message_id=message.message_id,
            octets=message.octets,
            payloads=list(message.payloads),
        )
        for message in _found(request, number).messages
    ]
    return Page(items=messages)


def _found(request: Request, number: int) -> Attempt:
    attempt = current_gateway(request).attempt(number)
    if attempt is None:
        raise NotFound("attempt", str(number))
    return attempt


def _line(attempt: Attempt) -> dict[str, Any]:
    names = AttemptAnswer.model_fields.keys() - {"notify"}
    notify = name_of(NotifyType, attempt.notify) if attempt.notify is not None else None
    return {**{name: getattr(attempt, name) for name in names}, "notify": notify}
