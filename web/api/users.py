"""Who may come in, with which files for their devices and which one-time codes: /users, /users/{name}, …"""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from gateway.service.documents import UserPassword
from gateway.service.manage import Configuration, FieldError, Invalid
from gateway.service.profiles import PLATFORMS
from gateway.service.profiles.joining import Unfit
from gateway.storage.fields import Name, Named
from gateway.storage.people import UserFields, UserObject
from web.api.common import ACTION, READ, WRITE, ObjectName, ReadConfig, WriteConfig, problems, refuse_trial
from web.api.resource import AskedTerms, Kind, ReadOnly, routes
from web.dependencies import current_gateway
from web.qr import qr_code

router = APIRouter(tags=["remote access"])


class UserAnswer(UserFields, Named):
    """A user without the password."""

    password_set: bool = Field(True, json_schema_extra={"readOnly": True})
    totp_set: bool = Field(
        False, json_schema_extra={"readOnly": True}, description="One-time codes go behind the password"
    )


class UserBody(UserFields):
    """A user as it comes in; without `password` the stored one stays."""

    name: Name | None = None
    password: UserPassword | None = None
    password_set: ReadOnly = None
    totp_set: ReadOnly = None


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


class CodesAnswer(BaseModel):
    """A new secret of one-time codes, which is shown this once: for the app that makes them."""

    uri: str = Field(description="As a link (otpauth://)")
    qr: str = Field(description="The link as a QR code, an SVG image")
    typed: str = Field(description="The same secret to be typed, in base32")


@router.post("/users/{name}/actions/generate-totp", responses={**ACTION, **problems(412)})
async def generate_totp(request: Request, caller: WriteConfig, name: ObjectName, terms: AskedTerms) -> CodesAnswer:
    """Give the user one-time codes (RFC 6238), or others than before: from now on a code goes behind the password.

    His sessions end.
    """
    refuse_trial(terms.dry_run)
    made = await current_gateway(request).give_codes(name, replace(terms, author=caller.name))
    return CodesAnswer(uri=made.uri, qr=qr_code(made.uri).svg, typed=made.typed)


@router.delete("/users/{name}/totp", status_code=204, responses=WRITE)
async def delete_totp(request: Request, caller: WriteConfig, name: ObjectName, terms: AskedTerms) -> None:
    """Take the one-time codes away: the password alone will do."""
    await current_gateway(request).config.put_secret("totp", name, None, replace(terms, author=caller.name))


def _show(config: Configuration, user: UserObject) -> UserAnswer:
    known = config.inventory.secrets
    has_password, has_codes = ("users", user.name) in known, ("totp", user.name) in known
    return UserAnswer(**user.model_dump(), password_set=has_password, totp_set=has_codes)


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
