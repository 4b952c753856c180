"""Pre-shared keys, whose secrets go in and never come out: /psks, /psks/{name}."""

from fastapi import APIRouter
from pydantic import Field

from gateway.service.documents import Secret
from gateway.storage.fields import Name, Named
from gateway.storage.peers import PskFields, PskObject
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["psks"])


class PskAnswer(PskFields, Named):
    """A key without its secret."""

    secret_set: bool = Field(True, json_schema_extra={"readOnly": True})


class PskBody(PskFields):
    """A key as it comes in; without `secret` the stored one stays."""

    name: Name | None = None
    secret: Secret | None = None
    secret_set: ReadOnly = None


routes(
    router,
    Kind(
        "psks",
        "psk",
        stored=PskObject,
        body=PskBody,
        shown=PskAnswer,
        show=lambda _, psk: PskAnswer(**psk.model_dump()),
        searched=lambda psk: (psk.description, *psk.local_ids, *psk.remote_ids),
    ),
)
