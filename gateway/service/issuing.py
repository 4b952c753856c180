"""The use cases of our own authorities: made, certificates issued, renewed, revoked and handed out.

Keys are made here and not on the floor of cryptography, because the library draws their chance itself: an RSA key
cannot be made from octets that come in. Time and serial numbers go in from here.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from gateway.crypto import authority as ca
from gateway.crypto import containers
from gateway.crypto.authority import Issuer, Profile, Wanted
from gateway.crypto.revoking import answer_ocsp
from gateway.crypto.signatures import PrivateKey, PublicKey
from gateway.service.authorities import (
    authority_chain,
    certificate_of,
    facts_of,
    issued_by_us,
    issuer_of,
    revoked_of,
    sent_with,
)
from gateway.service.manage import Configuration, FieldError, Invalid, NotFound, Terms, Written

KeyType = Literal["ecdsa-p384", "ecdsa-p256", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]


def make_key(key_type: KeyType) -> PrivateKey:
    """A new private key. RSA takes a second or more: call it in a thread."""
    match key_type:
        case "ecdsa-p384":
            return PrivateKey(ec.generate_private_key(ec.SECP384R1()))
        case "ecdsa-p256":
            return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
        case "ed25519":
            return PrivateKey(ed25519.Ed25519PrivateKey.generate())
        case "ml-dsa-44":
            return PrivateKey(mldsa.MLDSA44PrivateKey.generate())
        case "ml-dsa-65":
            return PrivateKey(mldsa.MLDSA65PrivateKey.generate())
        case "ml-dsa-87":
            return PrivateKey(mldsa.MLDSA87PrivateKey.generate())
        case _:
            return PrivateKey(rsa.generate_private_key(65537, int(key_type.removeprefix("rsa-"))))


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate or an authority to be made: under which name it is stored, and what it is to say."""

    name: str
    wanted: Wanted
    key_type: KeyType = "ecdsa-p384"
    description: str = ""


class Issuing:
    """What our authorities do; every change goes through the configuration and is a revision of it.

    `published` is where this gateway itself tells by HTTP what an authority revoked, for those that name no other
    place; empty where it does not.
    """

    def __init__(
        self,
        config: Configuration,
        clock: Callable[[], float] = time.time,
        published: Callable[[str], str] = lambda authority: "",
    ) -> None:
        self._config = config
        self._clock = clock
        self._published = published

    def _issuer(self, authority: str) -> Issuer:
        """Raises NotFound, and Invalid where its private key is not here."""
        found = issuer_of(self._config.inventory, authority)
        return found if found.publish else replace(found, publish=self._published(authority))

    async def create_authority(self, order: Order, terms: Terms, issuer: str = "", publish_uri: str = "") -> Written:
        """A root, or an authority below one of ours. Raises Invalid, NotFound, PreconditionFailed."""
        key = await asyncio.to_thread(make_key, order.key_type)
        now = self._clock()
        with _told():
            if issuer:
                above = self._issuer(issuer)
                made = ca.create_intermediate(above, key.public, order.wanted, now, os.urandom)
                chain = (made, *authority_chain(self._config.inventory, issuer))
            else:
                chain = (ca.create_root(key, order.wanted, now, os.urandom),)
        document = {
            "description": order.description,
            "certificate": containers.pem(*chain),
            "publish_uri": publish_uri.rstrip("/"),
            "private_key": containers.key_pem(key),
        }
        return await self._config.put("authorities", order.name, document, replace(terms, if_none_match="*"))

    async def generate(self, order: Order, authority: str, terms: Terms) -> Written:
        """A certificate of ours with its private key. Raises Invalid, NotFound, PreconditionFailed."""
        issuer = self._issuer(authority)
        key = await asyncio.to_thread(make_key, order.key_type)
        return await self._issue(order, authority, issuer, key.public, terms, {"private_key": containers.key_pem(key)})

    async def sign(self, order: Order, authority: str, asked: str, take_names: bool, terms: Terms) -> Written:
        """A certificate for who sends a request. Raises Invalid, NotFound, PreconditionFailed.

        Of the request only its key counts, and with `take_names` the alternative names that it asks for.
        """
        issuer = self._issuer(authority)
        with _told("/request"):
            found = containers.read_request(asked.encode())
            public = ca.requested_key(found)
        if take_names:
            names = tuple(dict.fromkeys((*order.wanted.names, *ca.name_texts(found))))
            order = replace(order, wanted=replace(order.wanted, names=names))
        return await self._issue(order, authority, issuer, public, terms, {})

    async def _issue(
        self, order: Order, authority: str, issuer: Issuer, public: PublicKey, terms: Terms, more: dict[str, Any]
    ) -> Written:
        with _told():
            made = ca.issue(issuer, public, order.wanted, self._clock(), os.urandom)
        document = {
            "description": order.description,
            "certificate": containers.pem(made, *sent_with(self._config.inventory, authority)),
            "authority": authority,
            **more,
        }
        return await self._config.put("certificates", order.name, document, replace(terms, if_none_match="*"))

    async def request(self, order: Order, terms: Terms) -> Written:
        """A key of ours and a request for another authority. Raises Invalid, PreconditionFailed."""
        key = await asyncio.to_thread(make_key, order.key_type)
        with _told():
            asked = ca.request(key, order.wanted)
        document = {"description": order.description, "request": asked, "private_key": containers.key_pem(key)}
        return await self._config.put("certificates", order.name, document, replace(terms, if_none_match="*"))

    async def import_pkcs12(self, name: str, octets: bytes, password: str, terms: Terms) -> Written:
        """A key with its certificates from a file; a root in it is left out. Raises Invalid, PreconditionFailed."""
        with _told("/pkcs12"):
            bundle = await asyncio.to_thread(containers.read_pkcs12, octets, password.encode() or None)
        chain = [one for one in bundle.chain if one.issuer != one.subject or one is bundle.chain[0]]
        document = {"certificate": containers.pem(*chain), "private_key": containers.key_pem(bundle.key)}
        return await self._config.put("certificates", name, document, terms)

    async def renew(self, name: str, terms: Terms, key_type: KeyType | None = None) -> Written:
        """Say the same anew, for as long again; with `key_type` under a new key. Raises Invalid, NotFound."""
        document, chain = issued_by_us(self._config.inventory, name)
        issuer = self._issuer(document.authority)
        patch: dict[str, Any] = {}
        public = PublicKey.of(chain[0].public_key())
        if key_type is not None:
            key = await asyncio.to_thread(make_key, key_type)
            public, patch = key.public, {"private_key": containers.key_pem(key)}
        with _told():
            made = ca.renew(issuer, chain[0], public, self._clock(), os.urandom)
        above = sent_with(self._config.inventory, document.authority)
        patch |= {"certificate": containers.pem(made, *above)}
        return await self._config.patch("certificates", name, patch, terms)

    async def revoke(self, name: str, reason: str, terms: Terms) -> Written:
        """Take a certificate's word back, for good; the answer's object is its authority. Raises Invalid, NotFound."""
        document, chain = issued_by_us(self._config.inventory, name)
        issuer_of(self._config.inventory, document.authority)
        held = self._config.inventory.authorities[document.authority]
        entry = {"serial": f"{chain[0].serial_number:x}", "at": float(int(self._clock())), "reason": reason}
        revoked = [one.model_dump(mode="json") for one in held.revoked]
        return await self._config.patch("authorities", held.name, {"revoked": [*revoked, entry]}, terms)

    def export_pkcs12(self, name: str, password: str) -> bytes:
        """A certificate with its private key and all above it, under a password. Raises Invalid, NotFound."""
        document, chain = certificate_of(self._config.inventory, name)
        key = self._config.inventory.secrets.get(("certificates", name))
        if key is None or not chain:
            raise Invalid([FieldError("", "no-private-key", "There is no private key with its certificate to export.")])
        whole = chain
        if document.authority in self._config.inventory.authorities:
            whole = (chain[0], *authority_chain(self._config.inventory, document.authority))
        with _told("/password"):
            return containers.write_pkcs12(name, containers.read_private_key(key), whole, password)

    def answer_ocsp(self, authority: str, asked: bytes) -> bytes:
        """What we say about a certificate of an authority of ours. Raises NotFound."""
        inventory = self._config.inventory
        try:
            issuer = issuer_of(inventory, authority)
        except Invalid:
            raise NotFound("authority of ours", authority) from None
        serials = {
            int(facts_of(one.certificate)[0].serial, 16)
            for one in inventory.certificates.values()
            if one.authority == authority and one.certificate
        } | {
            containers.read_certificates(one.certificate.encode())[0].serial_number
            for one in inventory.devices.values()
            if one.authority == authority and one.certificate
        }
        return answer_ocsp(issuer, asked, serials, revoked_of(inventory.authorities[authority]), self._clock())

    def due(self) -> list[str]:
        """Certificates of ours whose time to be renewed has come."""
        inventory, now, found = self._config.inventory, self._clock(), []
        for name, document in inventory.certificates.items():
            ours = ("authorities", document.authority) in inventory.secrets
            if document.renew and ours and ("certificates", name) in inventory.secrets and document.certificate:
                own = containers.read_certificates(document.certificate.encode())[0]
                if ca.profile_of(own) == Profile.GATEWAY and ca.renewal_due(own) <= now:
                    found.append(name)
        return found


@contextmanager
def _told(pointer: str = "") -> Iterator[None]:
    """What a certificate cannot be, as a mistake in what was asked. Raises Invalid."""
    try:
        yield
    except ValueError as error:
        raise Invalid([FieldError(pointer, "cannot-issue", str(error))]) from None
