"""The gateway itself: /system, and for those who watch over it /healthz and /readyz."""

import time

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

import gateway as product
from web.api.common import LIST, ReadState
from web.dependencies import current_gateway
from web.problems import MEANINGS

router = APIRouter(tags=["system"])
probes = APIRouter(tags=["system"])


class SystemAnswer(BaseModel):
    """This process; times are Unix seconds, `problems` are sentences about what keeps it from its work."""

    version: str
    name: str
    started_at: float
    uptime: float = Field(description="Seconds")
    at: float
    revision: int
    data_plane: str
    listening: list[str]
    problems: list[str]
    counters: dict[str, int]


class HealthAnswer(BaseModel):
    """Whether it works; `problems` are sentences."""

    ok: bool
    problems: list[str] = []


@router.get("/system", responses=LIST)
async def get_system(request: Request, _: ReadState) -> SystemAnswer:
    gateway = current_gateway(request)
    now = time.time()
    return SystemAnswer(
        version=product.__version__,
        name=gateway.settings.public_name,
        started_at=gateway.started_at,
        uptime=now - gateway.started_at,
        at=now,
        revision=gateway.config.revision,
        data_plane=gateway.data_plane,
        listening=list(gateway.listening),
        problems=list(gateway.problems),
        counters=gateway.observer.counters,
    )


@probes.get("/healthz")
async def healthz() -> HealthAnswer:
    """The process answers."""
    return HealthAnswer(ok=True)


@probes.get("/readyz", responses={503: {"description": "Not ready", "model": HealthAnswer}})
async def readyz(request: Request, response: Response) -> HealthAnswer:
    """IKE is listening. Says nothing more: anybody may ask."""
    ready = bool(current_gateway(request).listening)
    if not ready:
        response.status_code = 503
    return HealthAnswer(ok=ready, problems=[] if ready else ["IKE is not listening; the gateway's log says why."])


@probes.get("/problems/{slug}", include_in_schema=False)
async def explain_problem(slug: str) -> PlainTextResponse:
    """What the `type` of a problem document leads to (RFC 9457 3.1.1)."""
    if slug not in MEANINGS:
        raise HTTPException(404)
    return PlainTextResponse(MEANINGS[slug] + "\n")
