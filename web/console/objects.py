"""The pages that every kind of object has (new, change, delete), made from one description of the kind."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request, Response

from gateway.service.access import Session
from gateway.service.gateway import Gateway
from gateway.service.manage import Conflict, FieldError, Invalid, PreconditionFailed, Written
from gateway.storage.fields import Named
from web.console.forms.fields import Errors, Typed, api_call, impact, sentence_of, typed_in
from web.console.render import go, page
from web.console.session import CHANGED_MEANWHILE, SignedIn, ThisGateway, terms
from web.console.words import tunnel

Stored = TypeVar("Stored", bound=Named)
_TAKEN = "There is one of this name already."
UNCHANGED = "Nothing was different."


@dataclass(frozen=True, slots=True)
class Sheet(Generic[Stored]):
    """What an object's page shows: the object (None: a new one), and its form as it was typed.

    `picked` are the chosen values of the field that comes several times.
    """

    request: Request
    session: Session
    gateway: Gateway
    base: Stored | None
    typed: Typed
    errors: Errors = field(default_factory=dict)
    etag: str = ""
    picked: tuple[str, ...] = ()

    def form_page(
        self, template: str, path: str, kind: str, body: dict[str, Any], *, new: str, **context: Any
    ) -> Response:
        """The page of an object's form under `path`, which saves `body`; `new` is its title while it is new."""
        name = self.base.name if self.base else ""
        return self.answer(
            template,
            title=name or new,
            name=name,
            action=f"{path}/{name or 'new'}",
            call=self.call(f"/{kind}/{name or body.get('name') or 'NAME'}", body),
            **context,
        )

    def answer(self, template: str, **context: Any) -> Response:
        """The page, with what all of these have."""
        return page(
            self.request,
            template,
            422 if self.errors else 200,
            user=self.session.admin,
            typed=self.typed,
            errors=self.errors,
            etag=self.etag,
            **context,
        )

    def call(self, path: str, body: dict[str, Any]) -> str:
        """The API call that does the same; a secret is left out."""
        shown = {key: "…" if key == "secret" else value for key, value in body.items() if key != "name"}
        return api_call(self.request, "PUT", path, shown)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a page says before an object goes: `users` are names and addresses of what needs it.

    `refused`: it stays while there are users; else its name is typed to make sure.
    """

    what: str
    consequence: str
    users: Sequence[tuple[str, str]] = ()
    refused: bool = False


def unless_needed(what: str, users: Iterable[str], needed: str, free: str = "No tunnel uses it.") -> Deletion:
    """What stays while tunnels need it: `needed` is said before they are named, `free` when there are none."""
    links = [(user, tunnel(user)) for user in users]
    return Deletion(what, needed if links else free, links, refused=True)


@dataclass(frozen=True)
class Pages(Generic[Stored]):
    """One kind of object: where its pages are, how its form is read and written, and how they are drawn."""

    kind: str
    path: str  # of the objects' pages
    list_path: str
    typed_of: Callable[[Stored], Typed]
    document: Callable[[Typed, Stored | None, Errors], dict[str, Any]]
    placed: Callable[[list[FieldError]], Errors]
    draw: Callable[[Sheet[Stored]], Response]
    deletion: Callable[[Gateway, str], Deletion]
    blank: Callable[[], Typed] = dict
    pressed: Callable[[Sheet[Stored]], Sheet[Stored] | None] = lambda _: None  # a button that changes the form alone
    remark: Callable[[Typed], str] = lambda _: ""
    made: str = "is saved."


async def store(
    write: Awaitable[Written], errors: Errors, placed: Callable[[list[FieldError]], Errors]
) -> tuple[Written | None, str | None]:
    """What a write did, and the entity tag to go on with; what is wrong with it goes into `errors`."""
    try:
        return await write, None
    except Invalid as error:
        for name, text in placed(error.errors).items():
            errors.setdefault(name, text)
    except PreconditionFailed as error:
        errors[""] = CHANGED_MEANWHILE
        return None, error.etag or ""
    return None, None


async def store_new(write: Awaitable[Written], errors: Errors, placed: Callable[[list[FieldError]], Errors]) -> None:
    """Write what is to be new; what is wrong goes into `errors`, a name that is taken under the name."""
    _, taken = await store(write, errors, placed)
    if taken is not None:
        del errors[""]
        errors["name"] = _TAKEN


def _without_wrong_numbers(document: dict[str, Any], base: object, errors: Errors) -> dict[str, Any] | None:
    """The document with the stored numbers, or none, where those in it cannot be; None when all of them can.

    A number out of its bounds is found before anything else is looked at, and would hide every other mistake.
    """
    wrong = {name for name in errors if type(document.get(name)) in (int, float)}
    if not wrong:
        return None
    kept = {name: getattr(base, name) for name in wrong} if base else {}
    return {name: value for name, value in document.items() if name not in wrong} | kept


def object_pages(router: APIRouter, pages: Pages[Any]) -> None:
    """New, change and delete."""
    _new_pages(router, pages)
    kept_pages(router, pages)


def kept_pages(router: APIRouter, pages: Pages[Any]) -> None:
    """Change and delete alone, for what is not made by its own form."""
    _change_pages(router, pages)
    _delete_pages(router, pages)


def _new_pages(router: APIRouter, pages: Pages[Any]) -> None:
    @router.get(f"{pages.path}/new")
    async def show(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
        return pages.draw(Sheet(request, session, gateway, None, pages.blank()))

    @router.post(f"{pages.path}/new")
    async def make(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
        typed, picked = await typed_in(request)
        errors: Errors = {}
        sheet: Sheet[Any] = Sheet(request, session, gateway, None, typed, errors, picked=tuple(picked))
        if (changed := pages.pressed(sheet)) is not None:
            return pages.draw(changed)
        document = pages.document(typed, None, errors)
        name = str(document["name"])
        known = terms(session, dry_run=bool(errors), create=True)
        await store_new(gateway.config.put(pages.kind, name, document, known), errors, pages.placed)
        if (rest := _without_wrong_numbers(document, None, errors)) is not None:
            trial = replace(known, dry_run=True)
            await store_new(gateway.config.put(pages.kind, name, rest, trial), errors, pages.placed)
        return pages.draw(sheet) if errors else go(pages.list_path, f"{name} {pages.made}{pages.remark(typed)}")


def _change_pages(router: APIRouter, pages: Pages[Any]) -> None:
    @router.get(pages.path + "/{name}")
    async def show(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
        base = gateway.config.object(pages.kind, name)
        etag = gateway.config.etag(pages.kind, name)
        return pages.draw(Sheet(request, session, gateway, base, pages.typed_of(base), etag=etag))

    @router.post(pages.path + "/{name}")
    async def change(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
        typed, picked = await typed_in(request)
        base, errors = gateway.config.object(pages.kind, name), Errors()
        etag = typed.get("etag", "")
        sheet: Sheet[Any] = Sheet(request, session, gateway, base, typed, errors, etag, tuple(picked))
        if (changed := pages.pressed(sheet)) is not None:
            return pages.draw(changed)
        document = pages.document(typed, base, errors)
        known = terms(session, etag, dry_run=bool(errors))
        written, now = await store(gateway.config.put(pages.kind, name, document, known), errors, pages.placed)
        if (rest := _without_wrong_numbers(document, base, errors)) is not None:
            await store(gateway.config.put(pages.kind, name, rest, replace(known, dry_run=True)), errors, pages.placed)
        if errors or written is None:
            return pages.draw(replace(sheet, etag=etag if now is None else now))
        warned = "".join(f"{sentence} " for sentence in written.warnings)
        told = f"{name} is saved. {warned}{impact(written.impact, done=True)}{pages.remark(typed)}"
        return go(pages.list_path, told if written.changed else UNCHANGED)


async def _warnings(session: Session, gateway: Gateway, kind: str, name: str) -> Sequence[str]:
    """What a deletion would open, or why it would be refused."""
    try:
        return (await gateway.config.delete(kind, name, terms(session, dry_run=True))).warnings
    except (Conflict, Invalid) as error:
        return _refusals(error)


def _refusals(error: Conflict | Invalid) -> tuple[str, ...]:
    """Why a deletion cannot be, in sentences."""
    return tuple(sentence_of(one, "") for one in error.errors) if isinstance(error, Invalid) else (str(error),)


def _delete_pages(router: APIRouter, pages: Pages[Any]) -> None:
    async def draw(
        request: Request, session: Session, gateway: Gateway, name: str, typed: Typed, errors: Errors
    ) -> Response:
        told = pages.deletion(gateway, name)
        return page(
            request,
            "delete.html",
            422 if errors else 200,
            title=f"Delete {name}",
            user=session.admin,
            what=told.what,
            name=name,
            back=f"{pages.path}/{name}",
            action=f"{pages.path}/{name}/delete",
            consequence=told.consequence,
            warnings=() if told.refused and told.users else await _warnings(session, gateway, pages.kind, name),
            blockers=told.users,
            refused=told.refused and bool(told.users),
            confirm=bool(told.users),
            offer_key="",
            typed=typed,
            errors=errors,
            call=api_call(request, "DELETE", f"/{pages.kind.replace('_', '-')}/{name}"),
        )

    @router.get(pages.path + "/{name}/delete")
    async def ask(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
        gateway.config.object(pages.kind, name)
        return await draw(request, session, gateway, name, {}, {})

    @router.post(pages.path + "/{name}/delete")
    async def delete(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
        typed, _ = await typed_in(request)
        gateway.config.object(pages.kind, name)
        told = pages.deletion(gateway, name)
        if told.users and not told.refused and typed.get("confirm", "").strip() != name:
            errors = {"confirm": f"Type {name} exactly to delete it."}
            return await draw(request, session, gateway, name, typed, errors)
        try:
            await gateway.config.delete(pages.kind, name, terms(session))
        except (Conflict, Invalid) as error:
            return await draw(request, session, gateway, name, typed, {"": " ".join(_refusals(error))})
        return go(pages.list_path, f"{name} is deleted.")
