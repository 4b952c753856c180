"""Traffic that never enters a tunnel: /shunts, /shunts/{name}."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.service.manage import Terms
from gateway.storage.objects import Name, ShuntFields, ShuntObject
from web.api.common import (
    LIST,
    READ,
    WRITE,
    Cursor,
    Limit,
    ObjectName,
    Page,
    ReadConfig,
    Search,
    WriteAnswer,
    WriteConfig,
    given,
    mentions,
    page_of,
    read_terms,
    write_answer,
)
from web.api.peers import Patch
from web.dependencies import current_gateway

router = APIRouter(tags=["network rules"])
AskedTerms = Annotated[Terms, Depends(read_terms)]


class ShuntBody(ShuntFields):
    """A shunt as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


@router.get("/shunts", responses=LIST)
async def list_shunts(
    request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
) -> Page[ShuntObject]:
    things = current_gateway(request).config.inventory.shunts.values()

    def fits(shunt: ShuntObject) -> bool:
        return mentions(q, shunt.name, shunt.description, *shunt.local_selectors, *shunt.remote_selectors)

    items, following = page_of(things, limit, cursor, lambda shunt: shunt.name, fits)
    return Page(items=items, next_cursor=following)


@router.get("/shunts/{name}", responses=READ)
async def get_shunt(request: Request, response: Response, _: ReadConfig, name: ObjectName) -> ShuntObject:
    config = current_gateway(request).config
    shunt = config.object("shunts", name)
    assert isinstance(shunt, ShuntObject)
    response.headers["etag"] = config.etag("shunts", name)
    return shunt


@router.put("/shunts/{name}", responses={201: {"description": "Created", "model": WriteAnswer[ShuntObject]}, **WRITE})
async def put_shunt(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, body: ShuntBody, terms: AskedTerms
) -> WriteAnswer[ShuntObject]:
    config = current_gateway(request).config
    written = await config.put("shunts", name, given(body), replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.patch("/shunts/{name}", responses=WRITE)
async def patch_shunt(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, patch: Patch, terms: AskedTerms
) -> WriteAnswer[ShuntObject]:
    config = current_gateway(request).config
    written = await config.patch("shunts", name, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.delete("/shunts/{name}", responses=WRITE)
async def delete_shunt(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, terms: AskedTerms
) -> WriteAnswer[ShuntObject]:
    written = await current_gateway(request).config.delete("shunts", name, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _shown(document: dict[str, Any] | None) -> ShuntObject | None:
    return ShuntObject.model_validate(document) if document else None
