"""The pages of remote access: users, pools of addresses and who holds which, and RADIUS servers."""

import time

from fastapi import APIRouter, Request, Response

from gateway.service.gateway import Gateway
from gateway.service.renewals import running_out
from gateway.storage.people import PoolObject, RadiusObject, UserObject
from web.console.forms import people as form
from web.console.objects import Deletion, Pages, Sheet, object_pages, unless_needed
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn, ThisGateway, terms
from web.console.views import access_profiles, people
from web.console.views.devices import device_rows
from web.console.words import tunnel
from web.qr import qr_code

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_LIST = "/access"
_PLATFORMS = (
    ("apple", "iPhone, iPad, Mac (.mobileconfig)"),
    ("android", "Android, with strongSwan's app (.sswan)"),
    ("windows", "Windows (PowerShell)"),
    ("networkmanager", "Linux, NetworkManager (.nmconnection)"),
    ("swanctl", "Linux, swanctl (.conf)"),
)


@router.get(_LIST)
async def show_access(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    inventory, snapshot, leases = gateway.config.inventory, gateway.config.snapshot(), gateway.leases()
    return page(
        request,
        "access.html",
        title="Remote access",
        user=session.admin,
        users=people.user_rows(inventory, snapshot, gateway.observer.ike_sas(), leases, time.time()),
        running_out=running_out(inventory, time.time()),
        profiles=access_profiles.profile_rows(inventory, snapshot),
        pools=people.pool_rows(inventory, snapshot, leases),
        leases=people.lease_rows(leases),
        held=sum(lease.released is None for lease in leases),
        known=len(leases),
        servers=people.radius_servers(inventory),
        by_radius=people.peers_by_radius(inventory),
    )


def _draw_user(sheet: Sheet[UserObject]) -> Response:
    name, config = sheet.base.name if sheet.base else "", sheet.gateway.config
    body = form.user_document(sheet.typed, sheet.base, {})
    body.pop("password", None)
    return sheet.form_page(
        "user.html",
        "/access/users",
        "users",
        body,
        new="New user",
        platforms=_PLATFORMS,
        devices=device_rows(sheet.gateway, name) if name else (),
        profiles=access_profiles.choices(config.inventory, sheet.typed.get("access_profile", "")),
        reach=access_profiles.reach_of(config.snapshot(), sheet.base) if sheet.base else None,
        password_set=("users", name) in config.inventory.secrets,
        totp_set=("totp", name) in config.inventory.secrets,
    )


def _delete_user(gateway: Gateway, name: str) -> Deletion:
    return Deletion("user", "His sessions end, and the certificates of his devices are revoked.")


object_pages(
    router,
    Pages(
        "users",
        path="/access/users",
        list_path=_LIST,
        typed_of=form.typed_of_user,
        document=form.user_document,
        placed=form.placed_user,
        draw=_draw_user,
        blank=lambda: form.NEW_USER,
        deletion=_delete_user,
    ),
)


@router.post("/access/users/{name}/totp")
async def give_codes(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    """The new secret is on the answer's page and nowhere else."""
    codes = await gateway.give_codes(name, terms(session))
    title, qr = f"One-time codes of {name}", qr_code(codes.uri)
    return page(request, "codes.html", title=title, user=session.admin, name=name, codes=codes, qr=qr)


@router.post("/access/users/{name}/totp/delete")
async def take_codes(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    await gateway.config.put_secret("totp", name, None, terms(session))
    return go(f"/access/users/{name}", f"{name} comes in by the password alone.")


def _draw_pool(sheet: Sheet[PoolObject]) -> Response:
    name = sheet.base.name if sheet.base else ""
    body = form.pool_document(sheet.typed, sheet.base, {})
    return sheet.form_page(
        "pool.html",
        "/access/pools",
        "pools",
        body,
        new="New pool",
        used_by=people.peers_of_pool(sheet.gateway.config.inventory, name) if name else (),
    )


def _delete_pool(gateway: Gateway, name: str) -> Deletion:
    users = people.peers_of_pool(gateway.config.inventory, name)
    needed = "These peers give addresses from it; give them another pool first:"
    return unless_needed("pool", users, needed, "No peer gives from it.")


object_pages(
    router,
    Pages(
        "pools",
        path="/access/pools",
        list_path=_LIST,
        typed_of=form.typed_of_pool,
        document=form.pool_document,
        placed=form.placed_pool,
        draw=_draw_pool,
        blank=dict,
        deletion=_delete_pool,
    ),
)


def _draw_radius(sheet: Sheet[RadiusObject]) -> Response:
    body = form.radius_document(sheet.typed, sheet.base, {})
    return sheet.form_page(
        "radius.html",
        "/access/radius",
        "radius",
        body,
        new="New RADIUS server",
    )


def _delete_radius(gateway: Gateway, name: str) -> Deletion:
    """The last server that somebody depends on goes when its name is typed."""
    inventory = gateway.config.inventory
    users = people.peers_by_radius(inventory)
    if inventory.radius.keys() != {name}:
        return Deletion("RADIUS server", "The others are asked in its place.")
    text = "It is the last one. Nobody comes in any more through these:" if users else "No peer asks a RADIUS server."
    return Deletion("RADIUS server", text, [(user, tunnel(user)) for user in users])


object_pages(
    router,
    Pages(
        "radius",
        path="/access/radius",
        list_path=_LIST,
        typed_of=form.typed_of_radius,
        document=form.radius_document,
        placed=form.placed_radius,
        draw=_draw_radius,
        blank=form.new_radius,
        deletion=_delete_radius,
    ),
)
