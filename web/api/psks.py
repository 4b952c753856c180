"""Pre-shared keys, whose secrets go in and never come out: /psks, /psks/{name}."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from gateway.service.documents import Secret
from gateway.service.manage import Terms
from gateway.storage.objects import Name, Named, PskFields, PskObject
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
    mentions,
    page_of,
    read_terms,
    write_answer,
)
from web.api.peers import Patch
from web.dependencies import current_gateway

router = APIRouter(tags=["psks"])
AskedTerms = Annotated[Terms, Depends(read_terms)]


class PskAnswer(PskFields, Named):
    """A key without its secret."""

    secret_set: bool = Field(True, json_schema_extra={"readOnly": True})


class PskBody(PskFields):
    """A key as it comes in; without `secret` the stored one stays."""

    name: Name | None = None
    secret: Secret | None = None
    secret_set: Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})] = None


@router.get("/psks", responses=LIST)
async def list_psks(
    request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
) -> Page[PskAnswer]:
    things = current_gateway(request).config.inventory.psks.values()

    def fits(psk: PskObject) -> bool:
        return mentions(q, psk.name, psk.description, *psk.local_ids, *psk.remote_ids)

    items, following = page_of(things, limit, cursor, lambda psk: psk.name, fits)
    return Page(items=[PskAnswer(**item.model_dump()) for item in items], next_cursor=following)


@router.get("/psks/{name}", responses=READ)
async def get_psk(request: Request, response: Response, _: ReadConfig, name: ObjectName) -> PskAnswer:
    config = current_gateway(request).config
    psk = config.object("psks", name)
    response.headers["etag"] = config.etag("psks", name)
    return PskAnswer(**psk.model_dump())


@router.put("/psks/{name}", responses={201: {"description": "Created", "model": WriteAnswer[PskAnswer]}, **WRITE})
async def put_psk(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, body: PskBody, terms: AskedTerms
) -> WriteAnswer[PskAnswer]:
    config = current_gateway(request).config
    document = {
        key: value for key, value in body.model_dump(exclude_unset=True).items() if (key, value) != ("name", None)
    }
    written = await config.put("psks", name, document, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.patch("/psks/{name}", responses=WRITE)
async def patch_psk(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, patch: Patch, terms: AskedTerms
) -> WriteAnswer[PskAnswer]:
    written = await current_gateway(request).config.patch("psks", name, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.delete("/psks/{name}", responses=WRITE)
async def delete_psk(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, terms: AskedTerms
) -> WriteAnswer[PskAnswer]:
    written = await current_gateway(request).config.delete("psks", name, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _shown(document: dict[str, Any] | None) -> PskAnswer | None:
    return PskAnswer(**document) if document else None
