"""Being sent on to another gateway: what REDIRECT carries, and when it is followed (RFC 5685)."""

import ipaddress
import re

from gateway.ike import attempt_log
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType, RedirectIdentity
from gateway.wire.outcome import Drop, Reject

MAX_REDIRECTS = 5
REDIRECT_LOOP_DETECT_PERIOD = 300.0  # seconds; both RFC 5685 7

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")


def _encode(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        kind, octets = RedirectIdentity.FQDN, host.encode("ascii")
    else:
        kind = RedirectIdentity.IPV4 if address.version == 4 else RedirectIdentity.IPV6
        octets = address.packed
    return bytes((kind, len(octets))) + octets


def names_gateway(text: str) -> bool:
    """Whether this is an address or a DNS name that a REDIRECT can carry."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True


def redirect(host: str, nonce: bytes = b"") -> wire.Notify:
    """N(REDIRECT): go to this address or DNS name; with the initiator's nonce in IKE_SA_INIT only (RFC 5685 9.2)."""
    return wire.Notify(0, b"", NotifyType.REDIRECT, _encode(host) + nonce)


def redirected_from(address: str) -> wire.Notify:
    """N(REDIRECTED_FROM): the gateway at this address sent us (RFC 5685 9.3)."""
    return wire.Notify(0, b"", NotifyType.REDIRECTED_FROM, _encode(address))


def read(data: bytes) -> tuple[str, bytes]:
    """The gateway named, and what follows it. Raises Reject: the peer's text goes to a resolver."""
    if len(data) < 2 or len(data) < 2 + data[1]:
        raise Reject(NotifyType.INVALID_SYNTAX, "a REDIRECT that runs past its end")
    kind, octets, rest = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
    if kind in (RedirectIdentity.IPV4, RedirectIdentity.IPV6):
        if len(octets) != (4 if kind == RedirectIdentity.IPV4 else 16):
            raise Reject(NotifyType.INVALID_SYNTAX, "a REDIRECT to an address of a wrong length")
        address = ipaddress.ip_address(octets)
        if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved:
            raise Reject(NotifyType.INVALID_SYNTAX, f"a REDIRECT to {address}, where no gateway can be")
        return str(address), rest
    text = octets.decode("ascii", "replace")
    if kind != RedirectIdentity.FQDN or not _HOST.fullmatch(text):
        raise Reject(NotifyType.INVALID_SYNTAX, "a REDIRECT to what is neither an address nor a DNS name")
    return text, rest


def check_nonce(sa: IkeSa, response: Message) -> None:
    """Only who saw our request can send us on (RFC 5685 3). Raises Drop: the true response may still come."""
    notify = response.notify(NotifyType.REDIRECT)
    if notify is None:
        return
    try:
        _, nonce = read(notify.data)
    except Reject as reject:
        raise Drop(reject.why) from None
    if nonce != sa.nonce_i:
        raise Drop("a REDIRECT with another nonce than ours")


def target(core: Core, sa: IkeSa, message: Message) -> str | None:
    """Where the peer sends us, if it does and we agreed to that. Raises Reject."""
    notify = message.notify(NotifyType.REDIRECT)
    if notify is None or Ability.IS_SENT_ON not in sa.abilities:
        return None
    host, _ = read(notify.data)
    _count(core, sa, host)
    text = f"{sa.path.text} sends us on to {host}"
    attempt_log.add(sa.attempt, Step.REACH, text)
    core.event("ike-sa.redirected", f"{sa.peer_name}: {text}", sa.peer_name, ike_sa=sa.id, to=host)
    return host


def _count(core: Core, sa: IkeSa, host: str) -> None:
    """RFC 5685 7: gateways that send us to each other end in a failure, not in a circle."""
    name = sa.peer_name or ""
    recent = [when for when in core.extensions.redirects.get(name, ()) if core.now - when < REDIRECT_LOOP_DETECT_PERIOD]
    if len(recent) >= MAX_REDIRECTS:
        why = f"{sa.path.text} sends us on to {host}, after {MAX_REDIRECTS} redirects in five minutes"
        raise core.refuse(sa, "redirect-loop", Step.REACH, NotifyType.INVALID_SYNTAX, why)
    core.extensions.redirects[name] = [*recent, core.now]
