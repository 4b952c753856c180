"""Who may come in: /users, /users/{name}; and files for their devices: /users/{name}/profiles/{platform}."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from gateway.service.documents import UserPassword
from gateway.service.manage import Configuration, FieldError, Invalid
from gateway.service.profiles import PLATFORMS
from gateway.service.profiles.joining import Unfit
from gateway.storage.fields import Name, Named
from gateway.storage.people import UserFields, UserObject
from web.api.common import READ, ObjectName, ReadConfig
from web.api.resource import Kind, ReadOnly, routes
from web.dependencies import current_gateway

router = APIRouter(tags=["remote access"])


class UserAnswer(UserFields, Named):
    """A user without the password."""

    password_set: bool = Field(True, json_schema_extra={"readOnly": True})


class UserBody(UserFields):
    """A user as it comes in; without `password` the stored one stays."""

    name: Name | None = None
    password: UserPassword | None = None
    password_set: ReadOnly = None


class PlatformName(StrEnum):
    """What kind of device a file is for."""

    APPLE = "apple"
    ANDROID = "android"
    WINDOWS = "windows"
    NETWORKMANAGER = "networkmanager"
    SWANCTL = "swanctl"


@router.get(
    "/users/{name}/profiles/{platform}",
    responses={**READ, 200: {"description": "The file", "content": {"application/octet-stream": {}}}},
    response_class=Response,
)
async def get_profile(
    request: Request,
    _: ReadConfig,
    name: ObjectName,
    platform: PlatformName,
    peer: Annotated[str, Query(max_length=63, description="By which peer; the only one with EAP needs no naming")] = "",
) -> Response:
    """A file that makes a device ready to come in as this user; it holds no password, the device asks for it."""
    gateway = current_gateway(request)
    try:
        octets = gateway.profile(name, peer, platform.value)
    except Unfit as unfit:
        raise Invalid([FieldError("/path/platform", "unfit", str(unfit))]) from None
    made_by = PLATFORMS[platform.value]
    headers = {"content-disposition": f'attachment; filename="{name}{made_by.suffix}"', "cache-control": "no-store"}
    return Response(octets, media_type=made_by.media_type, headers=headers)


def _show(config: Configuration, user: UserObject) -> UserAnswer:
    return UserAnswer(**user.model_dump(), password_set=("users", user.name) in config.inventory.secrets)


routes(
    router,
    Kind(
        "users",
        "user",
        stored=UserObject,
        body=UserBody,
        shown=UserAnswer,
        show=_show,
        searched=lambda user: (user.description, user.login, *user.groups, *user.addresses),
    ),
)
