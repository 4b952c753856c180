"""Traffic that never enters a tunnel: /shunts, /shunts/{name}."""

from fastapi import APIRouter

from gateway.storage.fields import Name
from gateway.storage.rules import ShuntFields, ShuntObject
from web.api.resource import Kind, as_stored, routes

router = APIRouter(tags=["network rules"])


class ShuntBody(ShuntFields):
    """A shunt as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


routes(
    router,
    Kind(
        "shunts",
        "shunt",
        stored=ShuntObject,
        body=ShuntBody,
        shown=ShuntObject,
        show=as_stored,
        searched=lambda shunt: (shunt.description, *shunt.local_selectors, *shunt.remote_selectors),
    ),
)
