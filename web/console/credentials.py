"""The pages of pre-shared keys and proposals."""

from fastapi import APIRouter, Request, Response

from gateway.service.access import Session
from gateway.service.gateway import Gateway
from gateway.service.manage import Conflict, Invalid, NotFound, PreconditionFailed
from gateway.storage.objects import ProposalObject, PskObject
from web.console.forms import keys as form
from web.console.forms.fields import Errors, Typed, api_call, impact, random_secret, remark_on, typed_in
from web.console.render import go, page
from web.console.session import CHANGED_MEANWHILE, PageRoute, SignedIn, ThisGateway, terms
from web.console.views import keys
from web.console.words import tunnel

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_TAKEN = "There is one of this name already."


def _psk(gateway: Gateway, name: str) -> PskObject:
    found = gateway.config.inventory.psks.get(name)
    if found is None:
        raise NotFound("key", name)
    return found


def _proposal(gateway: Gateway, name: str) -> ProposalObject:
    found = gateway.config.inventory.proposals.get(name)
    if found is None:
        raise NotFound("proposal", name)
    return found


@router.get("/psks")
async def list_psks(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    rows = keys.psk_rows(gateway.config.inventory, gateway.config.snapshot())
    return page(request, "psks.html", title="Pre-shared keys", user=session.admin, rows=rows)


def _psk_page(
    request: Request,
    session: Session,
    gateway: Gateway,
    base: PskObject | None,
    typed: Typed,
    errors: Errors,
    etag: str = "",
) -> Response:
    name = base.name if base else ""
    body = form.psk_document(typed, base, {})
    shown = {key: "…" if key == "secret" else value for key, value in body.items() if key != "name"}
    return page(
        request,
        "psk.html",
        422 if errors else 200,
        title=name or "New key",
        user=session.admin,
        name=name,
        typed=typed,
        errors=errors,
        etag=etag,
        used_by=keys.peers_of_key(gateway.config.snapshot(), name) if name else (),
        action=f"/psks/{name}" if name else "/psks/new",
        call=api_call(request, "PUT", f"/psks/{name or body.get('name') or 'NAME'}", shown),
    )


@router.get("/psks/new")
async def new_psk(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    return _psk_page(request, session, gateway, None, {"secret": random_secret()}, {})


@router.post("/psks/new")
async def make_psk(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    errors: Errors = {}
    document = form.psk_document(typed, None, errors)
    name = str(document["name"])
    known = terms(session, dry_run=bool(errors), create=True)
    try:
        await gateway.config.put("psks", name, document, known)
    except Invalid as error:
        errors = form.placed_psk(error.errors) | errors
    except PreconditionFailed:
        errors["name"] = _TAKEN
    if errors:
        return _psk_page(request, session, gateway, None, typed, errors)
    return go("/psks", f"{name} is saved.{remark_on(typed.get('secret', ''))}")


@router.get("/psks/{name}")
async def show_psk(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    psk = _psk(gateway, name)
    return _psk_page(request, session, gateway, psk, form.typed_of_psk(psk), {}, gateway.config.etag("psks", name))


@router.post("/psks/{name}")
async def change_psk(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await typed_in(request)
    psk = _psk(gateway, name)
    etag = typed.get("etag", "")
    if typed.get("action") == "generate":
        return _psk_page(request, session, gateway, psk, {**typed, "secret": random_secret()}, {}, etag)
    errors: Errors = {}
    try:
        written = await gateway.config.put("psks", name, form.psk_document(typed, psk, errors), terms(session, etag))
    except Invalid as error:
        errors = form.placed_psk(error.errors) | errors
    except PreconditionFailed as error:
        errors[""], etag = CHANGED_MEANWHILE, error.etag or ""
    else:
        told = f"{name} is saved. {impact(written.impact, done=True)}{remark_on(typed.get('secret', ''))}"
        return go("/psks", told if written.changed else "Nothing was different.")
    return _psk_page(request, session, gateway, psk, typed, errors, etag)


@router.get("/psks/{name}/delete")
async def ask_delete_psk(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return _ask_delete(request, session, gateway, "psks", name, {}, {})


@router.post("/psks/{name}/delete")
async def delete_psk(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return await _delete(request, session, gateway, "psks", name)


@router.get("/proposals")
async def list_proposals(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    rows = keys.proposal_rows(gateway.config.inventory)
    return page(request, "proposals.html", title="Proposals", user=session.admin, rows=rows)


def _proposal_page(
    request: Request,
    session: Session,
    gateway: Gateway,
    base: ProposalObject | None,
    typed: Typed,
    errors: Errors,
    etag: str = "",
    picked: tuple[str, ...] = (),
) -> Response:
    name = base.name if base else ""
    body = form.proposal_document(typed, base)
    protocol = "esp" if body["protocol"] == "esp" else "ike"
    return page(
        request,
        "proposal.html",
        422 if errors else 200,
        title=name or "New proposal",
        user=session.admin,
        name=name,
        typed=typed,
        errors=errors,
        etag=etag,
        used_by=keys.users(gateway.config.inventory, name) if name else (),
        action=f"/proposals/{name}" if name else "/proposals/new",
        verdicts=keys.verdicts(body["suites"], protocol),
        picks=keys.picks(protocol),
        picked=picked,
        picking=bool(picked),
        call=api_call(
            request,
            "PUT",
            f"/proposals/{name or body['name'] or 'NAME'}",
            {k: v for k, v in body.items() if k != "name"},
        ),
    )


def _with_picks(typed: Typed, picked: list[str]) -> tuple[Typed, Errors]:
    """What was picked from the lists, written below what was typed."""
    protocol = "esp" if typed.get("protocol") == "esp" else "ike"
    more = keys.suites_of_picks(picked, protocol)
    suites = "\n".join([*typed.get("suites", "").splitlines(), *more])
    wrong = [suite.verdict for suite in keys.verdicts(more, protocol) if suite.invalid]
    errors = {"suites": wrong[0]} if wrong else {} if more else {"suites": "Pick at least an encryption algorithm."}
    return (typed if errors else {**typed, "suites": suites}), errors


@router.get("/proposals/new")
async def new_proposal(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    return _proposal_page(request, session, gateway, None, {"protocol": "ike"}, {})


@router.post("/proposals/new")
async def make_proposal(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, picked = await typed_in(request)
    if typed.get("action") == "add":
        typed, errors = _with_picks(typed, picked)
        return _proposal_page(request, session, gateway, None, typed, errors, picked=tuple(picked) if errors else ())
    errors = {}
    document = form.proposal_document(typed, None)
    name = str(document["name"])
    try:
        await gateway.config.put("proposals", name, document, terms(session, create=True))
    except Invalid as error:
        errors = form.placed_proposal(error.errors)
    except PreconditionFailed:
        errors["name"] = _TAKEN
    if errors:
        return _proposal_page(request, session, gateway, None, typed, errors)
    return go("/proposals", f"{name} is saved.")


@router.get("/proposals/{name}")
async def show_proposal(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    proposal = _proposal(gateway, name)
    etag = gateway.config.etag("proposals", name)
    return _proposal_page(request, session, gateway, proposal, form.typed_of_proposal(proposal), {}, etag)


@router.post("/proposals/{name}")
async def change_proposal(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, picked = await typed_in(request)
    proposal = _proposal(gateway, name)
    etag = typed.get("etag", "")
    if typed.get("action") == "add":
        typed, errors = _with_picks(typed, picked)
        kept = tuple(picked) if errors else ()
        return _proposal_page(request, session, gateway, proposal, typed, errors, etag, kept)
    errors = {}
    try:
        written = await gateway.config.put(
            "proposals", name, form.proposal_document(typed, proposal), terms(session, etag)
        )
    except Invalid as error:
        errors = form.placed_proposal(error.errors)
    except PreconditionFailed as error:
        errors[""], etag = CHANGED_MEANWHILE, error.etag or ""
    else:
        told = f"{name} is saved. {impact(written.impact, done=True)}"
        return go("/proposals", told if written.changed else "Nothing was different.")
    return _proposal_page(request, session, gateway, proposal, typed, errors, etag)


@router.get("/proposals/{name}/delete")
async def ask_delete_proposal(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return _ask_delete(request, session, gateway, "proposals", name, {}, {})


@router.post("/proposals/{name}/delete")
async def delete_proposal(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return await _delete(request, session, gateway, "proposals", name)


def _ask_delete(
    request: Request, session: Session, gateway: Gateway, kind: str, name: str, typed: Typed, errors: Errors
) -> Response:
    """A key that tunnels use may go, when its name is typed; a proposal that is referred to may not."""
    if kind == "psks":
        _psk(gateway, name)
        users = keys.peers_of_key(gateway.config.snapshot(), name)
        text = "These tunnels use it and can no longer prove themselves without it:" if users else "No tunnel uses it."
    else:
        _proposal(gateway, name)
        users = keys.users(gateway.config.inventory, name)
        text = "These tunnels refer to it; give them another proposal first:" if users else "No tunnel uses it."
    return page(
        request,
        "delete.html",
        422 if errors else 200,
        title=f"Delete {name}",
        user=session.admin,
        what="key" if kind == "psks" else "proposal",
        name=name,
        back=f"/{kind}/{name}",
        action=f"/{kind}/{name}/delete",
        consequence=text,
        blockers=[(user, tunnel(user)) for user in users],
        refused=kind == "proposals" and bool(users),
        confirm=bool(users),
        offer_key="",
        typed=typed,
        errors=errors,
        call=api_call(request, "DELETE", f"/{kind}/{name}"),
    )


async def _delete(request: Request, session: Session, gateway: Gateway, kind: str, name: str) -> Response:
    typed, _ = await typed_in(request)
    used = kind == "psks" and bool(keys.peers_of_key(gateway.config.snapshot(), name))
    if used and typed.get("confirm", "").strip() != name:
        errors = {"confirm": f"Type {name} exactly to delete it."}
        return _ask_delete(request, session, gateway, kind, name, typed, errors)
    try:
        await gateway.config.delete(kind, name, terms(session))
    except Conflict as error:
        return _ask_delete(request, session, gateway, kind, name, typed, {"": str(error)})
    return go(f"/{kind}", f"{name} is deleted.")
