"""Sources whose datagrams are dropped unread: /blocks, /blocks/{network}."""

import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from gateway.service.manage import FieldError, Invalid, Terms
from gateway.storage.objects import BlockFields, BlockObject, Line, NamedByNetwork, network_of
from web.api.common import (
    LIST,
    READ,
    WRITE,
    Cursor,
    Limit,
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


def addressed(
    network: Annotated[
        str,
        Path(max_length=64, description="The network as it stands, such as 198.51.100.0/24; an address is one alone"),
    ],
) -> str:
    """The network of the address in its one spelling. Raises Invalid."""
    try:
        return network_of(network)
    except ValueError as error:
        raise Invalid([FieldError("/path/network", "invalid-network", str(error))]) from None


Addressed = Annotated[str, Depends(addressed)]


class BlockAnswer(BlockFields, NamedByNetwork):
    """A blocked network; `active` is false once its time is over."""

    active: bool = Field(True, json_schema_extra={"readOnly": True})


class BlockBody(BlockFields):
    """A block as it comes in; a network, if given, is the one in the address, and `active` is not read."""

    network: Line | None = None
    active: Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})] = None


@router.get("/blocks", responses=LIST)
async def list_blocks(
    request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
) -> Page[BlockAnswer]:
    things = current_gateway(request).config.inventory.blocks.values()
    items, following = page_of(
        things, limit, cursor, lambda block: block.network, lambda block: mentions(q, block.network, block.reason)
    )
    return Page(items=[_answer(item) for item in items], next_cursor=following)


@router.get("/blocks/{network:path}", responses=READ)
async def get_block(request: Request, response: Response, _: ReadConfig, network: Addressed) -> BlockAnswer:
    config = current_gateway(request).config
    block = config.object("blocks", network)
    assert isinstance(block, BlockObject)
    response.headers["etag"] = config.etag("blocks", network)
    return _answer(block)


@router.put(
    "/blocks/{network:path}", responses={201: {"description": "Created", "model": WriteAnswer[BlockAnswer]}, **WRITE}
)
async def put_block(
    request: Request, response: Response, caller: WriteConfig, network: Addressed, body: BlockBody, terms: AskedTerms
) -> WriteAnswer[BlockAnswer]:
    config = current_gateway(request).config
    written = await config.put("blocks", network, given(body), replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.patch("/blocks/{network:path}", responses=WRITE)
async def patch_block(
    request: Request, response: Response, caller: WriteConfig, network: Addressed, patch: Patch, terms: AskedTerms
) -> WriteAnswer[BlockAnswer]:
    config = current_gateway(request).config
    written = await config.patch("blocks", network, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.delete("/blocks/{network:path}", responses=WRITE)
async def delete_block(
    request: Request, response: Response, caller: WriteConfig, network: Addressed, terms: AskedTerms
) -> WriteAnswer[BlockAnswer]:
    written = await current_gateway(request).config.delete("blocks", network, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _shown(document: dict[str, Any] | None) -> BlockAnswer | None:
    return _answer(BlockObject.model_validate(document)) if document else None


def _answer(block: BlockObject) -> BlockAnswer:
    return BlockAnswer(**block.model_dump(), active=block.expires_at is None or block.expires_at > time.time())
