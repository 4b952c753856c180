"""The configuration as an administrator writes it: all objects of one revision, by their kinds and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.devices import DeviceObject
from gateway.storage.identity import AuthorityObject, CertificateObject
from gateway.storage.peers import PeerObject, ProposalObject, PskObject
from gateway.storage.people import PoolObject, RadiusObject, UserObject
from gateway.storage.post_quantum import PpkObject
from gateway.storage.rules import BlockObject, SettingsObject, ShuntObject

# In the order in which they may refer to each other.
KINDS = (
    "proposals",
    "psks",
    "ppks",
    "authorities",
    "certificates",
    "pools",
    "access_profiles",
    "users",
    "devices",
    "radius",
    "peers",
    "shunts",
    "blocks",
)
SETTINGS = ("settings", "gateway")  # the one object of its kind, by kind and name
SEALED = {  # kinds that have a secret beside them, and the field that it comes in by
    "psks": "secret",
    "ppks": "secret",
    "authorities": "private_key",
    "certificates": "private_key",
    "peers": "eap_password",
    "users": "password",
    "radius": "secret",
}
FURTHER = {"totp": ("users", "totp_secret")}
"""What is sealed besides, by the word that stands for the kind in `Inventory.secrets`: the kind, and its column."""
CHILDREN = "children"  # objects inside a peer; one is named as `peer/child`
KEYS = {"blocks": "network"}  # the field that names an object, where that is not `name`

ConfigObject = (
    ProposalObject
    | PskObject
    | PpkObject
    | AuthorityObject
    | CertificateObject
    | PoolObject
    | AccessProfileObject
    | UserObject
    | DeviceObject
    | RadiusObject
    | PeerObject
    | ShuntObject
    | BlockObject
    | SettingsObject
)
STORED: Mapping[str, type[ConfigObject]] = {
    "proposals": ProposalObject,
    "psks": PskObject,
    "ppks": PpkObject,
    "authorities": AuthorityObject,
    "certificates": CertificateObject,
    "pools": PoolObject,
    "access_profiles": AccessProfileObject,
    "users": UserObject,
    "devices": DeviceObject,
    "radius": RadiusObject,
    "peers": PeerObject,
    "shunts": ShuntObject,
    "blocks": BlockObject,
    SETTINGS[0]: SettingsObject,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a document: where (RFC 6901 pointer), a stable code, and a sentence."""

    pointer: str
    code: str
    detail: str


class Invalid(Exception):
    """A document cannot be taken; `errors` says where and why."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.pointer or 'document'}: {error.detail}" for error in errors))
        self.errors = errors


def kind_of_secret(word: str) -> str:
    """Of which kind the object is that a secret goes with."""
    return FURTHER[word][0] if word in FURTHER else word


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one revision by name, and their secrets apart from them.

    `secrets` holds the octets that go with an object, `(kind, name)` of SEALED or `(word, name)` of FURTHER. `changed`
    says in which revision an object, `(kind, name)` or `("children", "peer/child")`, got its present content.
    """

    revision: int = 0
    proposals: Mapping[str, ProposalObject] = field(default_factory=dict)
    psks: Mapping[str, PskObject] = field(default_factory=dict)
    peers: Mapping[str, PeerObject] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    changed: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)
    shunts: Mapping[str, ShuntObject] = field(default_factory=dict)
    blocks: Mapping[str, BlockObject] = field(default_factory=dict)
    settings: SettingsObject = field(default_factory=SettingsObject)
    authorities: Mapping[str, AuthorityObject] = field(default_factory=dict)
    certificates: Mapping[str, CertificateObject] = field(default_factory=dict)
    ppks: Mapping[str, PpkObject] = field(default_factory=dict)
    pools: Mapping[str, PoolObject] = field(default_factory=dict)
    users: Mapping[str, UserObject] = field(default_factory=dict)
    radius: Mapping[str, RadiusObject] = field(default_factory=dict)
    access_profiles: Mapping[str, AccessProfileObject] = field(default_factory=dict)
    devices: Mapping[str, DeviceObject] = field(default_factory=dict)

    def objects(self, kind: str) -> Mapping[str, ConfigObject]:
        """The objects of one of KINDS, by name; of the settings, which are one."""
        if kind == SETTINGS[0]:
            return {SETTINGS[1]: self.settings}
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of object")
        found: Mapping[str, ConfigObject] = getattr(self, kind)
        return found

    def secrets_of(self, kind: str, name: str) -> dict[str, bytes]:
        """An object's secrets, by their columns."""
        words = {
            kind: SEALED.get(kind, ""),
            **{word: field for word, (owner, field) in FURTHER.items() if owner == kind},
        }
        return {field: self.secrets[word, name] for word, field in words.items() if (word, name) in self.secrets}

    def touched(self, old: "Inventory", kind: str) -> list[str]:
        """Names of the objects that are not the very same as in an older inventory, or have another secret.

        Few of ten thousand are, and only those need a look.
        """
        was, now = old.objects(kind), self.objects(kind)
        names = {name for name, thing in now.items() if was.get(name) is not thing} | (was.keys() - now.keys())
        if self.secrets is not old.secrets:
            both = self.secrets.keys() | old.secrets.keys()
            names |= {
                key[1]
                for key in both
                if kind_of_secret(key[0]) == kind and self.secrets.get(key) != old.secrets.get(key)
            }
        return sorted(names)
