"""Peers and their children: /peers, /peers/{name}, /peers/{name}/children/{child}."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from gateway.service.documents import EapPassword
from gateway.storage.fields import Name
from gateway.storage.peers import ChildFields, ChildObject, PeerFields, PeerObject
from web.api.common import READ, ObjectName, Page, ReadConfig
from web.api.resource import Kind, as_stored, object_routes, routes
from web.dependencies import current_gateway

router = APIRouter(tags=["peers"])


class PeerBody(PeerFields):
    """A peer as it comes in; a name is the one in the address. Without `eap_password` the stored one stays."""

    name: Name | None = None
    eap_password: EapPassword | None = None


class ChildBody(ChildFields):
    """A child as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


def child_address(name: ObjectName, child: ObjectName) -> str:
    return f"{name}/{child}"


routes(
    router,
    Kind(
        "peers",
        "peer",
        stored=PeerObject,
        body=PeerBody,
        shown=PeerObject,
        show=as_stored,
        searched=lambda peer: (peer.description, peer.remote_id, *peer.remote_addresses),
    ),
)


@router.get("/peers/{name}/children", responses=READ)
async def list_children(request: Request, _: ReadConfig, name: ObjectName) -> Page[ChildObject]:
    return Page(items=list(current_gateway(request).config.peer(name).children))


object_routes(
    router,
    Kind(
        "children",
        "child",
        stored=ChildObject,
        body=ChildBody,
        shown=ChildObject,
        show=as_stored,
        path="/peers/{name}/children/{child}",
        address=Annotated[str, Depends(child_address)],
    ),
)
