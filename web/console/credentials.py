"""The pages of all credentials, of pre-shared keys, of post-quantum ones, and of proposals."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from fastapi import APIRouter, Request, Response

from gateway.service.gateway import Gateway
from gateway.storage.peers import ProposalObject, PskObject
from gateway.storage.post_quantum import PpkObject
from web.api.ppks import random_ppk
from web.console.forms import keys as form
from web.console.forms.fields import Typed, random_secret, remark_on
from web.console.objects import Deletion, Pages, Sheet, object_pages, unless_needed
from web.console.render import page
from web.console.session import PageRoute, SignedIn, ThisGateway
from web.console.views import certificates, keys
from web.console.words import tunnel

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Key = TypeVar("Key", PskObject, PpkObject)


@router.get("/credentials")
async def list_credentials(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    inventory, now = gateway.config.inventory, time.time()
    return page(
        request,
        "credentials.html",
        title="Credentials",
        user=session.admin,
        certificates=certificates.certificate_rows(inventory, now),
        authorities=certificates.authority_rows(inventory, now),
        issuing=bool(certificates.ours(inventory)),
        rows=keys.psk_rows(inventory, gateway.config.snapshot()),
        ppks=keys.ppk_rows(inventory),
    )


@router.get("/psks")
async def list_psks(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    rows = keys.psk_rows(gateway.config.inventory, gateway.config.snapshot())
    return page(request, "psks.html", title="Pre-shared keys", user=session.admin, rows=rows)


def _draw_psk(sheet: Sheet[PskObject]) -> Response:
    name = sheet.base.name if sheet.base else ""
    body = form.psk_document(sheet.typed, sheet.base, {})
    return sheet.form_page(
        "psk.html",
        "/psks",
        "psks",
        body,
        new="New key",
        used_by=keys.peers_of_key(sheet.gateway.config.snapshot(), name) if name else (),
    )


def _with_secret(sheet: Sheet[Key], make: Callable[[], str]) -> Sheet[Key] | None:
    """A random secret in place of a stored one, when its button was pressed."""
    if sheet.typed.get("action") != "generate" or sheet.base is None:
        return None
    return replace(sheet, typed={**sheet.typed, "secret": make()})


def _delete_psk(gateway: Gateway, name: str) -> Deletion:
    """A key that tunnels use may go, when its name is typed."""
    users = keys.peers_of_key(gateway.config.snapshot(), name)
    text = "These tunnels use it and can no longer prove themselves without it:" if users else "No tunnel uses it."
    return Deletion("key", text, [(user, tunnel(user)) for user in users])


object_pages(
    router,
    Pages(
        "psks",
        path="/psks",
        list_path="/psks",
        typed_of=form.typed_of_psk,
        document=form.psk_document,
        placed=form.placed_psk,
        draw=_draw_psk,
        blank=lambda: {"secret": random_secret()},
        deletion=_delete_psk,
        pressed=lambda sheet: _with_secret(sheet, random_secret),
        remark=lambda typed: remark_on(typed.get("secret", "")),
    ),
)


def _draw_ppk(sheet: Sheet[PpkObject]) -> Response:
    name = sheet.base.name if sheet.base else ""
    body = form.ppk_document(sheet.typed, sheet.base, {})
    return sheet.form_page(
        "ppk.html",
        "/ppks",
        "ppks",
        body,
        new="New post-quantum pre-shared key",
        used_by=keys.peers_of_ppk(sheet.gateway.config.inventory, name) if name else (),
    )


def _delete_ppk(gateway: Gateway, name: str) -> Deletion:
    users = keys.peers_of_ppk(gateway.config.inventory, name)
    needed = "These tunnels name it; take it out of them first:"
    return unless_needed("post-quantum pre-shared key", users, needed)


object_pages(
    router,
    Pages(
        "ppks",
        path="/ppks",
        list_path="/credentials",
        typed_of=form.typed_of_ppk,
        document=form.ppk_document,
        placed=form.placed_ppk,
        draw=_draw_ppk,
        blank=lambda: {"secret": random_ppk()},
        deletion=_delete_ppk,
        pressed=lambda sheet: _with_secret(sheet, random_ppk),
    ),
)


@router.get("/proposals")
async def list_proposals(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    rows = keys.proposal_rows(gateway.config.inventory)
    return page(request, "proposals.html", title="Proposals", user=session.admin, rows=rows)


def _draw_proposal(sheet: Sheet[ProposalObject]) -> Response:
    name = sheet.base.name if sheet.base else ""
    body = form.proposal_document(sheet.typed, sheet.base, {})
    protocol = "esp" if body["protocol"] == "esp" else "ike"
    return sheet.form_page(
        "proposal.html",
        "/proposals",
        "proposals",
        body,
        new="New proposal",
        used_by=keys.users(sheet.gateway.config.inventory, name) if name else (),
        verdicts=keys.verdicts(body["suites"], protocol),
        picks=keys.picks(protocol),
        picked=sheet.picked,
        picking=bool(sheet.picked),
    )


def _with_picks(sheet: Sheet[ProposalObject]) -> Sheet[ProposalObject] | None:
    """What was picked from the lists, written below what was typed."""
    typed = sheet.typed
    if typed.get("action") != "add":
        return None
    protocol = "esp" if typed.get("protocol") == "esp" else "ike"
    more = keys.suites_of_picks(sheet.picked, protocol)
    wrong = [suite.verdict for suite in keys.verdicts(more, protocol) if suite.invalid]
    if wrong or not more:
        return replace(sheet, errors={"suites": wrong[0] if wrong else "Pick at least an encryption algorithm."})
    suites = "\n".join([*typed.get("suites", "").splitlines(), *more])
    return replace(sheet, typed={**typed, "suites": suites}, picked=())


def _delete_proposal(gateway: Gateway, name: str) -> Deletion:
    users = keys.users(gateway.config.inventory, name)
    return unless_needed("proposal", users, "These tunnels refer to it; give them another proposal first:")


_NEW_PROPOSAL: Typed = {"protocol": "ike"}

object_pages(
    router,
    Pages(
        "proposals",
        path="/proposals",
        list_path="/proposals",
        typed_of=form.typed_of_proposal,
        document=form.proposal_document,
        placed=form.placed_proposal,
        draw=_draw_proposal,
        blank=lambda: _NEW_PROPOSAL,
        deletion=_delete_proposal,
        pressed=_with_picks,
    ),
)
