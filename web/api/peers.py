"""Peers and their children: /peers, /peers/{name}, /peers/{name}/children/{child}."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response

from gateway.service.manage import Terms
from gateway.storage.objects import ChildFields, ChildObject, Name, PeerFields, PeerObject
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
from web.dependencies import current_gateway

router = APIRouter(tags=["peers"])
AskedTerms = Annotated[Terms, Depends(read_terms)]
Patch = Annotated[dict[str, Any], Body(description="A merge patch (RFC 7396): null takes a field back to its default")]


class PeerBody(PeerFields):
    """A peer as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


class ChildBody(ChildFields):
    """A child as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


@router.get("/peers", responses=LIST)
async def list_peers(
    request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
) -> Page[PeerObject]:
    peers = current_gateway(request).config.inventory.peers.values()

    def fits(peer: PeerObject) -> bool:
        return mentions(q, peer.name, peer.description, peer.remote_id, *peer.remote_addresses)

    items, following = page_of(peers, limit, cursor, lambda peer: peer.name, fits)
    return Page(items=items, next_cursor=following)


@router.get("/peers/{name}", responses=READ)
async def get_peer(request: Request, response: Response, _: ReadConfig, name: ObjectName) -> PeerObject:
    config = current_gateway(request).config
    peer = config.peer(name)
    response.headers["etag"] = config.etag("peers", name)
    return peer


@router.put("/peers/{name}", responses={201: {"description": "Created", "model": WriteAnswer[PeerObject]}, **WRITE})
async def put_peer(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, body: PeerBody, terms: AskedTerms
) -> WriteAnswer[PeerObject]:
    config = current_gateway(request).config
    written = await config.put("peers", name, given(body), replace(terms, author=caller.name))
    return write_answer(written, response, _peer(written.document))


@router.patch("/peers/{name}", responses=WRITE)
async def patch_peer(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, patch: Patch, terms: AskedTerms
) -> WriteAnswer[PeerObject]:
    config = current_gateway(request).config
    written = await config.patch("peers", name, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _peer(written.document))


@router.delete("/peers/{name}", responses=WRITE)
async def delete_peer(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, terms: AskedTerms
) -> WriteAnswer[PeerObject]:
    written = await current_gateway(request).config.delete("peers", name, replace(terms, author=caller.name))
    return write_answer(written, response, None)


@router.get("/peers/{name}/children", responses=READ)
async def list_children(request: Request, _: ReadConfig, name: ObjectName) -> Page[ChildObject]:
    return Page(items=list(current_gateway(request).config.peer(name).children))


@router.get("/peers/{name}/children/{child}", responses=READ)
async def get_child(
    request: Request, response: Response, _: ReadConfig, name: ObjectName, child: ObjectName
) -> ChildObject:
    config = current_gateway(request).config
    found = config.child(name, child)
    response.headers["etag"] = config.etag("children", f"{name}/{child}")
    return found


@router.put(
    "/peers/{name}/children/{child}",
    responses={201: {"description": "Created", "model": WriteAnswer[ChildObject]}, **WRITE},
)
async def put_child(
    request: Request,
    response: Response,
    caller: WriteConfig,
    name: ObjectName,
    child: ObjectName,
    body: ChildBody,
    terms: AskedTerms,
) -> WriteAnswer[ChildObject]:
    config = current_gateway(request).config
    written = await config.put_child(name, child, given(body), replace(terms, author=caller.name))
    return write_answer(written, response, _child(written.document))


@router.patch("/peers/{name}/children/{child}", responses=WRITE)
async def patch_child(
    request: Request,
    response: Response,
    caller: WriteConfig,
    name: ObjectName,
    child: ObjectName,
    patch: Patch,
    terms: AskedTerms,
) -> WriteAnswer[ChildObject]:
    config = current_gateway(request).config
    written = await config.patch_child(name, child, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _child(written.document))


@router.delete("/peers/{name}/children/{child}", responses=WRITE)
async def delete_child(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, child: ObjectName, terms: AskedTerms
) -> WriteAnswer[ChildObject]:
    config = current_gateway(request).config
    written = await config.delete_child(name, child, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _peer(document: dict[str, Any] | None) -> PeerObject | None:
    return PeerObject.model_validate(document) if document else None


def _child(document: dict[str, Any] | None) -> ChildObject | None:
    return ChildObject.model_validate(document) if document else None
