"""The pages that show: overview, tunnels, sessions, attempts, events, and the stream that keeps them live."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.ike.attempts import Outcome
from gateway.service.access import Access
from gateway.service.gateway import Gateway
from gateway.service.journal import Journal, Record
from web.console.forms.fields import api_call
from web.console.render import page
from web.console.session import PageRoute, SignedIn, ThisGateway
from web.console.views import attempts as attempt_views
from web.console.views import events as event_views
from web.console.views import quantum
from web.console.views import tunnels as tunnel_views
from web.console.views.overview import overview
from web.console.views.sessions import sessions
from web.console.words import OUTCOMES
from web.dependencies import current_access
from web.security import session_secret

router = APIRouter(route_class=PageRoute, include_in_schema=False)
ROWS_A_PAGE = 100
_MOST_ROWS = 1_000  # of the report on post-quantum keys; the API has all
_OUTCOMES = (("", "Every outcome"), *((outcome.value, shown.word) for outcome, shown in OUTCOMES.items()))
_SESSION_CHECK = 14.0  # seconds; the journal wakes a silent stream after 15
_LOOKED_AT = 10_000  # records and attempts that a search goes through


@router.get("/")
async def show_overview(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    status = tunnel_views.complete(gateway.status(), gateway.config.snapshot())
    view = overview(status, gateway.attempts(limit=200), status.at)
    return page(
        request,
        "overview.html",
        title="Overview",
        user=session.admin,
        view=view,
        status=status,
        records=gateway.journal.latest(10),
        quantum=quantum.truth(gateway.rollout()),
        started_at=gateway.started_at,
        now=status.at,
    )


@router.get("/post-quantum")
async def show_post_quantum(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    found = gateway.rollout()
    return page(
        request,
        "post_quantum.html",
        title="Post-quantum keys",
        user=session.admin,
        rows=quantum.rollout_rows(found)[:_MOST_ROWS],
        truth=quantum.truth(found),
        now=time.time(),
    )


@router.get("/tunnels")
async def list_tunnels(
    request: Request,
    session: SignedIn,
    gateway: ThisGateway,
    q: str = "",
    state: str = "",
    page_number: Annotated[int, Query(alias="page")] = 1,
) -> Response:
    snapshot = gateway.config.snapshot()
    status = tunnel_views.complete(gateway.status(), snapshot)
    rows = tunnel_views.tunnel_rows(status, snapshot.peers, q, state)
    pages = max(1, math.ceil(len(rows) / ROWS_A_PAGE))
    shown = min(max(1, page_number), pages)
    return page(
        request,
        "tunnels.html",
        title="Tunnels",
        user=session.admin,
        rows=rows[(shown - 1) * ROWS_A_PAGE : shown * ROWS_A_PAGE],
        total=len(status.peers),
        pages=pages,
        page_number=shown,
        filters=tunnel_views.FILTERS,
        q=q,
        state=state,
        now=status.at,
    )


def tunnel_view(gateway: Gateway, name: str) -> tunnel_views.Tunnel:
    """Raises NotFound."""
    gateway.config.peer(name)
    snapshot = gateway.config.snapshot()
    view = tunnel_views.tunnel(tunnel_views.complete(gateway.status(), snapshot), name, snapshot.peers.get(name))
    if view is None:  # removed between two looks
        raise HTTPException(404)
    return view


@router.get("/tunnels/{name}")
async def show_tunnel(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    view = tunnel_view(gateway, name)
    last = gateway.attempt(view.status.last_attempt) if view.status.last_attempt is not None else None
    failed = (
        attempt_views.attempt_page(last) if last and last.outcome is Outcome.FAILED and view.state.urgency else None
    )
    return page(
        request,
        "tunnel.html",
        title=name,
        user=session.admin,
        view=view,
        failed=failed,
        outages=tunnel_views.outage_rows(gateway.outages(name)),
        call=api_call(request, "POST", f"/peers/{name}/actions/connect"),
    )


@router.get("/tunnels/{name}/history")
async def show_history(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return page(
        request,
        "tunnel_history.html",
        title=f"{name}: history",
        user=session.admin,
        view=tunnel_view(gateway, name),
        rows=attempt_views.attempt_rows(gateway.attempts(peer=name, limit=50)),
        records=gateway.journal.latest(50, name),
        filtered=False,
    )


@router.get("/sessions")
async def list_sessions(request: Request, session: SignedIn, gateway: ThisGateway, q: str = "") -> Response:
    status = gateway.status()
    return page(
        request,
        "sessions.html",
        title="Sessions",
        user=session.admin,
        view=sessions(status, q),
        status=status,
        q=q,
        now=status.at,
    )


@router.get("/attempts")
async def list_attempts(
    request: Request, session: SignedIn, gateway: ThisGateway, q: str = "", outcome: str = ""
) -> Response:
    limit = _LOOKED_AT if q or outcome else ROWS_A_PAGE
    rows = attempt_views.attempt_rows(gateway.attempts(limit=limit), q, outcome)[:ROWS_A_PAGE]
    return page(
        request,
        "attempts.html",
        title="Attempts",
        user=session.admin,
        rows=rows,
        outcomes=_OUTCOMES,
        q=q,
        outcome=outcome,
        filtered=bool(q or outcome),
    )


@router.get("/attempts/{number}")
async def show_attempt(request: Request, session: SignedIn, gateway: ThisGateway, number: int) -> Response:
    attempt = gateway.attempt(number)
    if attempt is None:
        raise HTTPException(404, f"There is no attempt {number}; the gateway remembers only the latest ones.")
    view = attempt_views.attempt_page(attempt)
    return page(request, "attempt.html", title=f"Attempt {number}", user=session.admin, view=view)


@router.get("/events")
async def list_events(
    request: Request, session: SignedIn, gateway: ThisGateway, q: str = "", topic: str = "", peer: str = ""
) -> Response:
    found = event_views.matching(gateway.journal.latest(_LOOKED_AT), q, topic, peer)
    names = sorted(gateway.config.snapshot().peers.keys() | ({peer} if peer else set()))
    return page(
        request,
        "events.html",
        title="Events",
        user=session.admin,
        records=found[:ROWS_A_PAGE],
        more=len(found) > ROWS_A_PAGE,
        topics=event_views.TOPICS,
        peers=names,
        q=q,
        topic=topic,
        peer=peer,
        filtered=bool(q or topic or peer),
    )


@router.get("/events/stream")
async def stream_events(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    """Server-sent events that tell a page to look again: `changed` with the record's kind, peer and sentence."""
    last = request.headers.get("last-event-id", "")
    position = int(last) if last.isdecimal() and len(last) < 16 else None
    access, secret = current_access(request), session_secret(request) or ""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(
        _stream(gateway.journal, access, secret, position), media_type="text/event-stream", headers=headers
    )


async def _stream(journal: Journal, access: Access, secret: str, position: int | None) -> AsyncIterator[str]:
    """Ends with the journal, and soon after the session does."""
    yield "retry: 2000\n\n"
    checked = time.monotonic()
    async for record in journal.follow(position):
        if time.monotonic() - checked >= _SESSION_CHECK:
            if await asyncio.to_thread(lambda: access.session(secret, touch=False)) is None:
                return
            checked = time.monotonic()
        yield _server_sent(record) if record is not None else ": still here\n\n"


def _server_sent(record: Record) -> str:
    data = json.dumps({"kind": record.kind, "peer": record.peer, "text": record.text})
    return f"id: {record.id}\nevent: changed\ndata: {data}\n\n"
