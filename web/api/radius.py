"""RADIUS servers, whose secrets go in and never come out: /radius, /radius/{name}."""

from fastapi import APIRouter
from pydantic import Field

from gateway.service.documents import RadiusSecret
from gateway.storage.fields import Name, Named
from gateway.storage.people import RadiusFields, RadiusObject
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["remote access"])


class RadiusAnswer(RadiusFields, Named):
    """A server without the secret."""

    secret_set: bool = Field(True, json_schema_extra={"readOnly": True})


class RadiusBody(RadiusFields):
    """A server as it comes in; without `secret` the stored one stays."""

    name: Name | None = None
    secret: RadiusSecret | None = None
    secret_set: ReadOnly = None


routes(
    router,
    Kind(
        "radius",
        "radius_server",
        stored=RadiusObject,
        body=RadiusBody,
        shown=RadiusAnswer,
        show=lambda _, server: RadiusAnswer(**server.model_dump()),
        searched=lambda server: (server.description, server.address),
    ),
)
