"""What an administrator does to tunnels: connect, disconnect, rekey, redirect, terminate."""

import time
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.service.done import Done
from web.api.common import ACTION, BODY, Act, Number, ObjectName, Wait
from web.dependencies import Caller, current_gateway

router = APIRouter(tags=["actions"])
ANSWERS = {202: {"description": "Begun; the attempt, if there is one, is at Location"}, **ACTION}


class PeerVerb(StrEnum):
    """What can be done to a peer or a child."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    REKEY = "rekey"


class SaVerb(StrEnum):
    """What can be done to an IKE SA."""

    REKEY = "rekey"
    TERMINATE = "terminate"


class DoneAnswer(BaseModel):
    """What came of it: `ok` says whether it is so now or, without waiting, was begun."""

    ok: bool
    text: str
    ike_sa: int | None = Field(description="See /ike-sas/{number}")
    attempt: int | None = Field(description="See /attempts/{number}")


class RedirectOrder(BaseModel):
    """Where the peer is sent."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z.:_-]+$")] = Field(
        description="The other gateway: an address or a DNS name", examples=["vpn2.example.net"]
    )


@router.post("/peers/{name}/actions/redirect", responses={**ANSWERS, **BODY})
async def redirect_peer(
    request: Request, response: Response, caller: Act, name: ObjectName, order: RedirectOrder, wait: Wait = 0
) -> DoneAnswer:
    """Send a peer that called us on to another gateway (RFC 5685); waiting ends when it has left."""
    done = await current_gateway(request).actions.redirect(name, order.to, wait)
    _note(request, caller, f"redirect {name} to {order.to}", done, name)
    return _answer(done, wait, response)


@router.post("/peers/{name}/actions/{verb}", responses=ANSWERS)
async def act_on_peer(
    request: Request, response: Response, caller: Act, name: ObjectName, verb: PeerVerb, wait: Wait = 0
) -> DoneAnswer:
    done = await _act(request, verb, name, None, wait)
    _note(request, caller, f"{verb} {name}", done, name)
    return _answer(done, wait, response)


@router.post("/peers/{name}/children/{child}/actions/{verb}", responses=ANSWERS)
async def act_on_child(
    request: Request,
    response: Response,
    caller: Act,
    name: ObjectName,
    child: ObjectName,
    verb: PeerVerb,
    wait: Wait = 0,
) -> DoneAnswer:
    done = await _act(request, verb, name, child, wait)
    _note(request, caller, f"{verb} {name}/{child}", done, name)
    return _answer(done, wait, response)


@router.post("/ike-sas/{number}/actions/{verb}", responses=ANSWERS)
async def act_on_ike_sa(
    request: Request, response: Response, caller: Act, number: Number, verb: SaVerb, wait: Wait = 0
) -> DoneAnswer:
    actions = current_gateway(request).actions
    match verb:
        case SaVerb.REKEY:
            done = await actions.rekey_ike_sa(number, wait)
        case SaVerb.TERMINATE:
            done = await actions.terminate(number, wait)
    _note(request, caller, f"{verb} IKE SA {number}", done)
    return _answer(done, wait, response)


async def _act(request: Request, verb: PeerVerb, peer: str, child: str | None, wait: float) -> Done:
    actions = current_gateway(request).actions
    match verb:
        case PeerVerb.CONNECT:
            return await actions.connect(peer, child, wait)
        case PeerVerb.DISCONNECT:
            return await actions.disconnect(peer, child, wait)
        case PeerVerb.REKEY:
            return await actions.rekey(peer, child, wait)


def _note(request: Request, caller: Caller, what: str, done: Done, peer: str | None = None) -> None:
    """Who asked for it stands in the journal beside what came of it."""
    text = f"{caller.name} asked: {what}. {done.text}"
    current_gateway(request).journal.write(time.time(), "admin.action", text, peer, author=caller.name, ok=done.ok)


def _answer(done: Done, wait: float, response: Response) -> DoneAnswer:
    """202 while it goes on, 200 when the caller waited for the outcome, whatever that is."""
    response.status_code = 200 if wait else 202
    if done.attempt is not None:
        response.headers["location"] = f"/api/v1/attempts/{done.attempt}"
    return DoneAnswer(ok=done.ok, text=done.text, ike_sa=done.ike_sa, attempt=done.attempt)
