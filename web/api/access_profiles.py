"""What users reach: /access-profiles, /access-profiles/{name}."""

from fastapi import APIRouter

from gateway.storage.access_profiles import AccessProfileFields, AccessProfileObject
from gateway.storage.fields import Name
from web.api.resource import Kind, as_stored, routes

router = APIRouter(tags=["remote access"])


class AccessProfileBody(AccessProfileFields):
    """An access profile as it comes in; a name, if given, is the one in the address."""

    name: Name | None = None


routes(
    router,
    Kind(
        "access_profiles",
        "access_profile",
        stored=AccessProfileObject,
        body=AccessProfileBody,
        shown=AccessProfileObject,
        show=as_stored,
        searched=lambda profile: (profile.description, *profile.networks, *profile.groups),
    ),
)
