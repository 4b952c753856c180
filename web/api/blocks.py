"""Sources whose datagrams are dropped unread: /blocks, /blocks/{network}."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from gateway.service.manage import FieldError, Invalid
from gateway.storage.fields import Line, NamedByNetwork, network_of
from gateway.storage.rules import BlockFields, BlockObject
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["network rules"])


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
    active: ReadOnly = None


def _answer(block: BlockObject) -> BlockAnswer:
    return BlockAnswer(**block.model_dump(), active=block.expires_at is None or block.expires_at > time.time())


routes(
    router,
    Kind(
        "blocks",
        "block",
        stored=BlockObject,
        body=BlockBody,
        shown=BlockAnswer,
        show=lambda _, block: _answer(block),
        searched=lambda block: (block.reason,),
        path="/blocks/{network:path}",
        address=Addressed,
    ),
)
