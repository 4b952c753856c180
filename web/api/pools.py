"""Where virtual addresses come from: /pools, /pools/{name}; and who holds one: /leases."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from gateway.policy.pools import Lease
from gateway.service.gateway import Gateway
from gateway.storage.fields import Name
from gateway.storage.people import PoolFields, PoolObject
from web.api.common import (
    LIST,
    Act,
    Cursor,
    Limit,
    ObjectName,
    Page,
    ReadState,
    Search,
    mentions,
    page_of,
    problems,
)
from web.api.resource import Kind, as_stored, routes
from web.dependencies import current_gateway

router = APIRouter(tags=["remote access"])


class PoolBody(PoolFields):
    """A pool as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


class LeaseAnswer(BaseModel):
    """Whose an address is; times are Unix seconds. One that is not in use is kept for its last holder."""

    pool: str
    address: str
    identity: str
    since: float
    in_use: bool
    released: Annotated[float | None, Field(description="Since when it is no longer in use")] = None


routes(
    router,
    Kind(
        "pools",
        "pool",
        stored=PoolObject,
        body=PoolBody,
        shown=PoolObject,
        show=as_stored,
        searched=lambda pool: (pool.description, *pool.networks, *pool.domains),
    ),
)


def _answer(lease: Lease) -> LeaseAnswer:
    return LeaseAnswer(
        pool=lease.pool,
        address=lease.address,
        identity=lease.identity.text,
        since=lease.since,
        in_use=lease.released is None,
        released=lease.released,
    )


@router.get("/leases", responses=LIST)
async def list_leases(
    request: Request,
    _: ReadState,
    limit: Limit = 100,
    cursor: Cursor = None,
    q: Search = "",
    pool: Annotated[str, Query(max_length=63, description="Of this pool alone")] = "",
) -> Page[LeaseAnswer]:
    """Addresses that were given out, in use or kept."""
    gateway: Gateway = current_gateway(request)
    found = [lease for lease in gateway.leases() if pool in ("", lease.pool)]
    items, following = page_of(
        found,
        limit,
        cursor,
        lambda lease: f"{lease.pool} {lease.address}",
        lambda lease: mentions(q, lease.pool, lease.address, lease.identity.text),
    )
    return Page(items=[_answer(lease) for lease in items], next_cursor=following)


@router.delete("/leases/{pool}/{address}", status_code=204, responses=problems(401, 403, 404, 409, 422))
async def forget_lease(
    request: Request, caller: Act, pool: ObjectName, address: Annotated[str, Path(max_length=45)]
) -> None:
    """Keep an address that is not in use for its last holder no longer."""
    gateway: Gateway = current_gateway(request)
    await gateway.forget_lease(pool, address)
    gateway.journal.write(time.time(), "lease.forgotten", f"{caller.name} let {address} of pool {pool} go", None)
