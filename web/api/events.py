"""What happens, as it happens: /events (server-sent events) and /events/history."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from gateway.service.journal import Journal, Record
from web.api.common import LIST, MOST, Page, ReadState
from web.dependencies import current_gateway, find_caller

router = APIRouter(tags=["events"])
RETRY = 2000  # milliseconds until a browser calls again

Topics = Annotated[
    str, Query(max_length=200, description="Only these, by comma", examples=["ike-sa,child-sa,attempt,config"])
]


class EventAnswer(BaseModel):
    """One thing that happened; the first word of `kind` is its topic, `at` is Unix time in seconds."""

    id: int
    at: float
    kind: str
    text: str
    peer: str | None
    data: dict[str, Any]


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "A stream that stays open; each event's data is one JSON object", "model": EventAnswer},
        **LIST,
    },
)
async def stream_events(
    request: Request,
    _: ReadState,
    topics: Topics = "",
    peer: Annotated[str | None, Query(max_length=63)] = None,
    last_event_id: Annotated[str | None, Header(description="Resume after this event")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Ends when the gateway stops, or when the caller's session or token does."""
    journal = current_gateway(request).journal
    wanted = chosen_topics(topics)
    yield ServerSentEvent(comment="ikegate", retry=RETRY)
    async for record in journal.follow(resume_point(journal, last_event_id)):
        if record is None:
            if await run_in_threadpool(find_caller, request) is None:
                return
            yield ServerSentEvent(comment="")
        elif (not wanted or record.topic in wanted) and peer in (None, record.peer):
            yield ServerSentEvent(id=str(record.id), event=record.kind, data=event_answer(record).model_dump())


def chosen_topics(topics: str) -> frozenset[str]:
    return frozenset(topic.strip() for topic in topics.split(",") if topic.strip())


def resume_point(journal: Journal, last_event_id: str | None) -> int | None:
    """Where to go on: a number beyond our last was given out before a restart, so everything since is new."""
    if last_event_id is None or not last_event_id.isdecimal():
        return None
    number = int(last_event_id[:18])
    return number if number <= journal.last_id else 0


@router.get("/events/history", responses=LIST)
async def list_events(
    request: Request,
    _: ReadState,
    topics: Topics = "",
    peer: Annotated[str | None, Query(max_length=63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, le=MOST, description="Only events with a lower id")] = None,
) -> Page[EventAnswer]:
    """The newest first; `next_cursor` is the `before` of the next page."""
    journal = current_gateway(request).journal
    wanted = chosen_topics(topics)
    found = [
        record
        for record in journal.latest(journal.last_id, peer)
        if (before is None or record.id < before) and (not wanted or record.topic in wanted)
    ]
    following = str(found[limit - 1].id) if len(found) > limit else None
    return Page(items=[event_answer(record) for record in found[:limit]], next_cursor=following)


def event_answer(record: Record) -> EventAnswer:
    return EventAnswer(
        id=record.id, at=record.at, kind=record.kind, text=record.text, peer=record.peer, data=record.data
    )
