"""The pages of access profiles."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from gateway.service.gateway import Gateway
from gateway.storage.access_profiles import AccessProfileObject
from web.console.forms import access_profiles as form
from web.console.objects import Deletion, Pages, Sheet, object_pages
from web.console.session import PageRoute
from web.console.views.access_profiles import users_by_profile

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_TUNNELS = (
    ("split", "Split: the networks below alone go through the tunnel"),
    ("full", "Full: everything goes through the tunnel"),
)


def _draw(sheet: Sheet[AccessProfileObject]) -> Response:
    name, config = sheet.base.name if sheet.base else "", sheet.gateway.config
    return sheet.form_page(
        "access_profile.html",
        "/access/profiles",
        "access-profiles",
        form.profile_document(sheet.typed, sheet.base, {}),
        new="New access profile",
        tunnels=_TUNNELS,
        used_by=users_by_profile(config.inventory, config.snapshot()).get(name, ()) if name else (),
    )


def _delete(gateway: Gateway, name: str) -> Deletion:
    """One that a user names stays; who has it by a group reaches all again."""
    inventory = gateway.config.inventory
    own = sorted(user.name for user in inventory.users.values() if user.access_profile == name)
    if own:
        text = "These users have it as their own; choose another for them first:"
        return Deletion("access profile", text, _linked(own), refused=True)
    by_group = users_by_profile(inventory, gateway.config.snapshot()).get(name, [])
    text = "No user has it."
    if by_group:
        text = "These users have it by a group. Without it they reach all that the peer's children let in:"
    return Deletion("access profile", text, _linked(by_group))


def _linked(users: Sequence[str]) -> list[tuple[str, str]]:
    return [(user, f"/access/users/{user}") for user in users]


object_pages(
    router,
    Pages(
        "access_profiles",
        path="/access/profiles",
        list_path="/access",
        typed_of=form.typed_of_profile,
        document=form.profile_document,
        placed=form.placed_profile,
        draw=_draw,
        blank=lambda: form.NEW_PROFILE,
        deletion=_delete,
    ),
)
