"""Who may come in: /users, /users/{name}."""

from fastapi import APIRouter
from pydantic import Field

from gateway.service.documents import UserPassword
from gateway.service.manage import Configuration
from gateway.storage.fields import Name, Named
from gateway.storage.people import UserFields, UserObject
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["remote access"])


class UserAnswer(UserFields, Named):
    """A user without the password."""

    password_set: bool = Field(True, json_schema_extra={"readOnly": True})


class UserBody(UserFields):
    """A user as it comes in; without `password` the stored one stays."""

    name: Name | None = None
    password: UserPassword | None = None
    password_set: ReadOnly = None


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
