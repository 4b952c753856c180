"""The configuration as one document, YAML or JSON: read, checked, written out."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gateway.crypto.containers import key_octets, read_private_key
from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.compiling.peers import parse_secret
from gateway.storage.devices import DeviceObject
from gateway.storage.fields import Named
from gateway.storage.findings import Pointers
from gateway.storage.identity import LARGEST_PEM, AuthorityFields, CertificateFields
from gateway.storage.objects import KEYS, KINDS, SEALED, SETTINGS, STORED, ConfigObject, FieldError, Invalid, Inventory
from gateway.storage.peers import ChildObject, PeerFields, ProposalObject, PskFields
from gateway.storage.people import PoolObject, RadiusFields, UserFields
from gateway.storage.post_quantum import PpkFields, check_strength
from gateway.storage.rules import BlockObject, SettingsObject, ShuntObject

API_VERSION = "ikegate/v1"


def _never_shown(most: int, description: str) -> Any:
    """The field of a secret that comes in: up to so many characters."""
    return Field(min_length=1, max_length=most, description=description, json_schema_extra={"writeOnly": True})


Secret = Annotated[SecretStr, _never_shown(4096, "Text, hexadecimal after 0x or base64 after 0s; never shown again")]
PrivateKeyText = Annotated[
    SecretStr, _never_shown(LARGEST_PEM, "PEM, not encrypted; never shown again. Not sent: the stored one stays")
]
EapPassword = Annotated[
    SecretStr,
    _never_shown(1024, "By which we prove ourselves where a round of local_auth is EAP; never shown again"),
]
UserPassword = Annotated[
    SecretStr,
    _never_shown(1024, "By which he proves himself to EAP methods that ask for a password; never shown again"),
]
RadiusSecret = Annotated[
    SecretStr, _never_shown(1024, "What the server and we share, long and random; never shown again")
]
Model = TypeVar("Model", bound=BaseModel)


class PskEntry(PskFields, Named):
    """A pre-shared key as it comes in; without `secret` the one that is stored stays."""

    secret: Secret | None = None


class PpkEntry(PpkFields, Named):
    """A post-quantum pre-shared key as it comes in; without `secret` the one that is stored stays."""

    secret: Secret | None = None


class AuthorityEntry(AuthorityFields, Named):
    """An authority as it comes in; without `private_key` the one that is stored stays."""

    private_key: PrivateKeyText | None = None


class CertificateEntry(CertificateFields, Named):
    """A certificate as it comes in; without `private_key` the one that is stored stays."""

    private_key: PrivateKeyText | None = None


class UserEntry(UserFields, Named):
    """A user as it comes in; without `password` the one that is stored stays."""

    password: UserPassword | None = None


class RadiusEntry(RadiusFields, Named):
    """A RADIUS server as it comes in; without `secret` the one that is stored stays."""

    secret: RadiusSecret | None = None


class PeerEntry(PeerFields, Named):
    """A peer as it comes in; without `eap_password` the one that is stored stays."""

    eap_password: EapPassword | None = None


class Document(BaseModel):
    """Everything that is configured, as `ikegate apply` takes it and an export gives it (there without secrets)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    apiVersion: Literal["ikegate/v1"]
    proposals: Annotated[tuple[ProposalObject, ...], Field(max_length=10_000)] = ()
    psks: Annotated[tuple[PskEntry, ...], Field(max_length=100_000)] = ()
    ppks: Annotated[tuple[PpkEntry, ...], Field(max_length=100_000)] = ()
    authorities: Annotated[tuple[AuthorityEntry, ...], Field(max_length=1_000)] = ()
    certificates: Annotated[tuple[CertificateEntry, ...], Field(max_length=100_000)] = ()
    pools: Annotated[tuple[PoolObject, ...], Field(max_length=10_000)] = ()
    access_profiles: Annotated[tuple[AccessProfileObject, ...], Field(max_length=10_000)] = ()
    users: Annotated[tuple[UserEntry, ...], Field(max_length=100_000)] = ()
    devices: Annotated[tuple[DeviceObject, ...], Field(max_length=100_000)] = ()
    radius: Annotated[tuple[RadiusEntry, ...], Field(max_length=1_000)] = ()
    peers: Annotated[tuple[PeerEntry, ...], Field(max_length=100_000)] = ()
    shunts: Annotated[tuple[ShuntObject, ...], Field(max_length=10_000)] = ()
    blocks: Annotated[tuple[BlockObject, ...], Field(max_length=100_000)] = ()
    settings: SettingsObject | None = None


def pointer_of(location: Iterable[str | int]) -> str:
    """A place inside a document as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def field_errors(errors: Iterable[Mapping[str, Any]], skip: int = 0) -> list[FieldError]:
    """What a model found wrong, without the values (one may be a secret) and the first `skip` parts of each place."""
    return [FieldError(pointer_of(error["loc"][skip:]), str(error["type"]), str(error["msg"])) for error in errors]


def validated(model: type[Model], document: Any) -> Model:
    """The document as an instance of the model. Raises Invalid."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Invalid(
            field_errors(error.errors(include_url=False, include_context=False, include_input=False))
        ) from None


class _Loader(yaml.SafeLoader):
    """YAML's plain data only: no alias (a few lines of them unfold to gigabytes), no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is plain text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_text(text: str) -> dict[str, Any]:
    """A document from YAML or JSON. Raises Invalid with line and column."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise Invalid([FieldError("", "invalid-yaml", f"{error.problem}{where}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid([FieldError("", "invalid-yaml", f"this is no YAML: {error}")]) from None
    if not isinstance(document, dict):
        raise Invalid(
            [FieldError("", "invalid-yaml", "a document is a mapping that begins with apiVersion: ikegate/v1")]
        )
    return document


def write_text(document: Mapping[str, Any]) -> str:
    """The document as YAML, in a stable order, so that two exports compare line by line."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def as_document(thing: BaseModel) -> dict[str, Any]:
    """An object as plain data, in the order of its fields."""
    return thing.model_dump(mode="json")


def export(inventory: Inventory) -> dict[str, Any]:
    """The whole configuration as a document; keys are named, their secrets left out."""
    return {
        "apiVersion": API_VERSION,
        **{kind: [as_document(thing) for _, thing in sorted(inventory.objects(kind).items())] for kind in KINDS},
        "settings": as_document(inventory.settings),
    }


class Writer:
    """Writes whole configurations as JSON, each as `export` gives it; what is the same as before is not done anew."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[BaseModel, str]] = {}

    def text(self, inventory: Inventory) -> str:
        known, self._known = self._known, {}
        parts = [f'"apiVersion":{json.dumps(API_VERSION)}']
        for kind in KINDS:
            texts = []
            for name, thing in sorted(inventory.objects(kind).items()):
                found = known.get((kind, name))
                if found is None or found[0] is not thing:
                    found = thing, _json(as_document(thing))
                self._known[kind, name] = found
                texts.append(found[1])
            parts.append(f'"{kind}":[{",".join(texts)}]')
        return f'{{{",".join(parts)},"settings":{_json(as_document(inventory.settings))}}}'


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: members of the patch replace, null removes."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


MODELS: Mapping[str, type[BaseModel]] = {
    **STORED,
    "psks": PskEntry,
    "ppks": PpkEntry,
    "authorities": AuthorityEntry,
    "certificates": CertificateEntry,
    "users": UserEntry,
    "radius": RadiusEntry,
    "peers": PeerEntry,
}


def _private_key(text: str) -> bytes:
    return key_octets(read_private_key(text.encode()))


def _post_quantum(text: str) -> bytes:
    return check_strength(parse_secret(text))


OPENERS: Mapping[str, Callable[[str], bytes]] = {
    "psks": parse_secret,
    "ppks": _post_quantum,
    "authorities": _private_key,
    "certificates": _private_key,
    "peers": str.encode,
    "users": str.encode,
    "radius": str.encode,
}


def read_object(kind: str, name: str, document: Mapping[str, Any]) -> tuple[ConfigObject, bytes | None]:
    """One object of a kind; a name inside must agree with its address. A secret comes beside. Raises Invalid."""
    if kind == SETTINGS[0]:
        return validated(SettingsObject, document), None
    key = KEYS.get(kind, "name")
    thing, secret = split_entry(kind, validated(MODELS[kind], {key: name, **document}), "")
    if not isinstance(thing, SettingsObject) and thing.name != name:
        raise Invalid([FieldError(f"/{key}", "name-differs", f"the object is addressed as {name!r}")])
    return thing, secret


def split_entry(kind: str, entry: BaseModel, at: str) -> tuple[ConfigObject, bytes | None]:
    """What came in as the object that is stored and, of a kind in SEALED, its secret's octets. Raises Invalid."""
    field = SEALED.get(kind)
    if field is None:
        return cast("ConfigObject", entry), None
    model = STORED[kind]
    thing = model.model_construct(**{name: getattr(entry, name) for name in model.model_fields})  # they are checked
    text: SecretStr | None = getattr(entry, field)
    try:
        return thing, OPENERS[kind](text.get_secret_value()) if text is not None else None
    except ValueError as error:
        raise Invalid([FieldError(f"{at}/{field}", f"invalid-{field.replace('_', '-')}", str(error))]) from None


def read_child(name: str, document: Mapping[str, Any]) -> ChildObject:
    """One child, named by its address. Raises Invalid."""
    if document.get("name", name) != name:
        raise Invalid([FieldError("/name", "name-differs", f"the child is addressed as {name!r}")])
    return validated(ChildObject, {**document, "name": name})


def unique_names(document: Document) -> None:
    """Raises Invalid when two objects of a kind have one name."""
    found: list[FieldError] = []
    for kind in KINDS:
        key = KEYS.get(kind, "name")
        seen: set[str] = set()
        entries: tuple[Any, ...] = getattr(document, kind)
        for index, entry in enumerate(entries):
            if entry.name in seen:
                found.append(FieldError(f"/{kind}/{index}/{key}", "duplicate", f"{entry.name!r} is there twice"))
            seen.add(entry.name)
    if found:
        raise Invalid(found)


def places(document: Document) -> Pointers:
    """Where each object stands in the document; one that is not in it is named as `/kind/name`."""
    index = {(kind, entry.name): at for kind in KINDS for at, entry in enumerate(getattr(document, kind))}

    def pointer(kind: str, name: str) -> str:
        return pointer_of([kind, index.get((kind, name), name)])

    return pointer
