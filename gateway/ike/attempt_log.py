"""Keeps the last negotiations, and tells each failure's cause and cure in words."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import takewhile

from gateway.ike.attempts import Attempt, MessageSeen, Outcome, Step, StepTaken
from gateway.policy.differences import Mismatch
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.payloads import Notify, Payload

_MESSAGES_KEPT = 64
_TEXT_KEPT = 1000

CURES: dict[str, str] = {
    "timeout": "Check the peer's address, that it runs, and that UDP 500 and 4500 pass in both directions.",
    "timeout-auth": (
        "The peer answered IKE_SA_INIT but not IKE_AUTH: UDP 4500 may be blocked, or large datagrams lost on the way; "
        "or the peer drops what it cannot decrypt."
    ),
    "messages-lost": (
        "Large IKE messages do not get through, or, where no part of an answer came, nothing on UDP 4500 does. Let the "
        "path carry UDP datagrams of that size and all fragments of a message: look at its MTU and at firewalls. Set a "
        "lower fragment_octets, down to 576, on both sides."
    ),
    "unreachable": "Check the peer's address or DNS name, and this gateway's routes.",
    "moved": "Nothing to do: it is called at its new address.",
    "address-changed": "Nothing to do: it was called again from the new address.",
    "no-proposal": "Give both sides one list of algorithms in common; the difference is shown beside this.",
    "no-esp-proposal": "Give the child's ESP proposals one list of algorithms in common with the peer's.",
    "unknown-peer": "If this peer is wanted, create it with this address, or widen an existing one.",
    "unknown-identity": "Set this peer's remote identity to the one it sent, or correct the identity on its side.",
    "no-key": "Add a pre-shared key for these two identities.",
    "wrong-key": "The two sides hold different pre-shared keys: set the same one on both.",
    "peer-refused-us": (
        "Most likely the pre-shared keys differ; otherwise the peer does not know our identity. Compare both on its "
        "side."
    ),
    "peer-refused-certificate": (
        "The peer's own log has the reason. Let it trust the authority that issued our certificate and have our "
        "identity as the certificate names it; see that the certificate holds, and that those between it and the "
        "authority are sent with it."
    ),
    "peer-refused-key": "Enter our public key at the peer for our identity, and compare the identity on both sides.",
    "peer-refused-eap": "The peer's own log has the reason: compare our identity and the EAP method on both sides.",
    "peer-not-proven": "The peer did not prove its identity with our key: set the same pre-shared key on both sides.",
    "networks": "Make the networks of both sides mirror each other; the lists are shown beside this.",
    "no-child": "Configure a child for this peer.",
    "mode": "Set the same mode, tunnel or transport, for this child on both sides.",
    "ends": (
        "Transport mode protects what the two gateways themselves say to each other: the child's networks must hold "
        "the addresses that they use."
    ),
    "single-pair": (
        "A child of several networks is asked for pair by pair now; set single_pair for it to spare the first refusal. "
        "Where the peer refuses networks of many addresses altogether, name single addresses on both sides."
    ),
    "too-many": "Have the peer delete what it no longer uses; a peer that works as it should comes nowhere near.",
    "no-group": "Put the user into one of these groups, or let the child be for everybody.",
    "barred": "Enable the user, or give him a later end, if he is to come in.",
    "too-many-sessions": "End a session of the user, or allow him more.",
    "no-address": "Widen the pool, or disconnect who needs no address; of another gateway: look at its own pools.",
    "no-address-asked": "Let the device ask for a virtual address, or give the child networks of its own.",
    "data-plane": "The data plane refused; its own words are in the reason.",
    "refused": "Usually nothing to do: the side that asked tries again.",
    "redirected": "Allow redirects for this peer, or call the gateway that it names.",
    "redirect-loop": "The peer's gateways send us from one to the other: correct where they redirect to.",
    "ticket": "Usually nothing to do: the peer comes again with its full proof.",
    "eap-protocol": "The other end breaks EAP's rules; a capture of the exchange, decrypted, shows it.",
    "eap-method": "Allow one EAP method on both sides that both have the means for: a password, or a certificate.",
    "eap-user": "Create or enable this user, or correct the name on the other side.",
    "eap-password": "Set the same password on both sides; a one-time code, where there is one, follows it at once.",
    "eap-locked": "Wait some minutes. If it was not the user himself, block the address where the tries come from.",
    "eap-refused": "The server's own log says why; most likely the name or the password is not the one it has.",
    "eap-server": "Somebody may be in the server's place: compare its certificate and the password on both sides.",
    "eap-tls": "The reason names the certificate's check that failed: renew it, or trust the authority that issued it.",
    "eap-radius": "The RADIUS server's own log says why it refuses this name.",
    "radius-silent": "Check that the RADIUS servers run, that UDP reaches them, and that the shared secrets agree.",
    "eap-key": "Somebody may stand between the two ends; look at both logs.",
    "auth-method": "Configure the same way of authentication for this direction on both sides.",
    "no-credential": "Choose a credential of this gateway's for this peer.",
    "signature-scheme": "Give this gateway a key of another kind, or let the peer verify with the hash of ours.",
    "signature-algorithm": "Give the peer a key of one of the known kinds, or let it sign by another algorithm.",
    "signature-sha1": "Let the peer sign by SHA-2, as RFC 7427 has it; or allow it SHA-1, if it can do nothing else.",
    "wrong-signature": "The peer does not hold the private key of what it showed; look at its configuration.",
    "trust-changed": "If it is to come in, trust its authority or its key; the reason says what does not hold.",
    "unknown-key": "Enter the peer's public key here, or correct the one that is known for it.",
    "certificate-form": "Have the peer send its X.509 certificate itself.",
    "certificate-trust": "Add the authority that issued the peer's certificate, or have the peer send its whole chain.",
    "certificate-signature": "The chain is not what it says it is: have the peer's certificate issued again.",
    "certificate-algorithm": "Have the certificate issued again, signed with SHA-256 or better.",
    "certificate-validity": "Have the certificate renewed; if it is valid, compare the clocks of both sides.",
    "certificate-authority": "The peer sent a chain through a certificate that may not issue any; correct its chain.",
    "certificate-path-length": "An authority of the chain may not have so many others below it; issue from one above.",
    "certificate-key-usage": "Have the certificate issued again with the key usage digitalSignature.",
    "certificate-purpose": (
        "Have the certificate issued again for IKE: without an extended key usage, or with id-kp-ipsecIKE; for a "
        "gateway serverAuth serves too, for who calls clientAuth as well."
    ),
    "certificate-name-constraints": "The authority may not speak for this name: have another issue the certificate.",
    "certificate-critical": "Have the certificate issued again without that extension, or not as a critical one.",
    "certificate-key": "Make a new key: RSA with 2048 bits or more and the exponent 65537, or one on a curve.",
    "certificate-revocation": "The certificate was revoked, or nobody fresh says that it was not; see the reason.",
    "certificate-identity": "Put the identity into the certificate's alternative names, or use one that is there.",
    "post-quantum": (
        "Give the peer software and a configuration with ML-KEM (RFC 9370), or both sides one post-quantum pre-shared "
        "key; or do not require it of this peer yet."
    ),
    "ppk": "Give both sides the same post-quantum pre-shared key for an exchange that both know, or require none here.",
    "syntax": "The peer sent something that breaks the protocol; a capture of the exchange shows it.",
    "peer-error": "Look at the peer's log for the reason.",
    "peer-restarted": "Nothing to do: it is called again.",
    "replaced": "Nothing to do: another IKE SA with this peer took its place.",
    "stopped": "Nothing to do: it was ended on purpose.",
}


class AttemptLog:
    """The last `kept` attempts by number."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._attempts: OrderedDict[int, Attempt] = OrderedDict()
        self._last: dict[str, Attempt] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._attempts)

    def begin(self, now: float, local: str, remote: str, *, initiator: bool, peer: str | None = None) -> Attempt:
        self._count += 1
        attempt = Attempt(self._count, now, initiator, local, remote, peer)
        self._attempts[attempt.id] = attempt
        if peer:
            self._last[peer] = attempt
        while len(self._attempts) > self.kept:
            self._attempts.popitem(last=False)
        return attempt

    def name(self, attempt: Attempt, peer: str) -> None:
        """The attempt turned out to be with this peer."""
        attempt.peer = peer
        self._last[peer] = attempt

    @property
    def count(self) -> int:
        """How many began: the number of the newest."""
        return self._count

    def since(self, number: int) -> Iterator[Attempt]:
        """Those that began after this one, the newest first."""
        return takewhile(lambda attempt: attempt.id > number, reversed(self._attempts.values()))

    def last(self, peer: str) -> Attempt | None:
        """The peer's newest attempt, however many others came since."""
        return self._last.get(peer)

    def forget(self, peer: str) -> None:
        """The peer is configured no longer."""
        self._last.pop(peer, None)

    def get(self, number: int) -> Attempt | None:
        return self._attempts.get(number)

    def latest(self, limit: int, peer: str | None = None) -> list[Attempt]:
        """The newest first."""
        found = []
        for attempt in reversed(self._attempts.values()):
            if peer is None or attempt.peer == peer:
                found.append(attempt)
                if len(found) >= limit:
                    break
        return found


def reach(attempt: Attempt | None, step: Step, now: float, text: str = "") -> None:
    """Mark a station as passed."""
    if attempt is None:
        return
    for taken in attempt.steps:
        if taken.step is step:
            return
    attempt.steps.append(StepTaken(step, True, now, text))


def reopen(attempt: Attempt | None) -> None:
    """A better answer came: who refused was not the peer."""
    if attempt is None:
        return
    attempt.outcome, attempt.ended, attempt.notify = Outcome.RUNNING, None, None
    attempt.cause = attempt.reason = attempt.advice = ""
    attempt.offered = attempt.acceptable = attempt.differences = ()
    attempt.steps = [taken for taken in attempt.steps if taken.done]
    add(attempt, Step.REACH, "an error came first, from somebody else")


def add(attempt: Attempt | None, step: Step, text: str) -> None:
    """More about a station that was passed."""
    for taken in attempt.steps if attempt else ():
        if taken.step is step and len(taken.text) < _TEXT_KEPT:
            taken.text = f"{taken.text}; {text}" if taken.text else text


def see(attempt: Attempt | None, now: float, message: Message, octets: int, *, outgoing: bool) -> None:
    """Note a message of the negotiation by the names of its payloads."""
    if attempt is None or len(attempt.messages) >= _MESSAGES_KEPT:
        return
    names = tuple(
        [
            payload_name(payload) if type(payload) is Notify else type(payload).__name__
            for payload in message.payloads[:32]
        ]
    )
    seen = MessageSeen(now, outgoing, message.exchange, message.response, message.message_id, octets, names)
    attempt.messages.append(seen)


def payload_name(payload: Payload) -> str:
    """How the RFC writes a payload in a ladder: `SA`, `N(COOKIE)`."""
    if type(payload) is Notify:
        return _NOTIFIES.get(payload.type) or f"N({payload.type})"
    return type(payload).__name__


_NOTIFIES = {int(kind): f"N({kind.name})" for kind in NotifyType}


def mismatch(attempt: Attempt | None, found: Mismatch) -> None:
    """Put both sides' lists beside each other."""
    if attempt is not None:
        attempt.offered, attempt.acceptable, attempt.differences = found.offered, found.acceptable, found.differences


def fail(
    attempt: Attempt, now: float, cause: str, reason: str, step: Step, notify: int | None = None, cure: str = ""
) -> None:
    """End the attempt with its first cause; later ones do not overwrite it.

    `cure` is the key of its advice, where that is not the cause.
    """
    if attempt.outcome != Outcome.RUNNING:
        return
    attempt.outcome, attempt.ended = Outcome.FAILED, now
    attempt.cause, attempt.reason, attempt.notify = cause, reason, notify
    attempt.advice = CURES.get(cure or cause, CURES["peer-error"])
    attempt.steps.append(StepTaken(step, False, now, reason))


def overturn(attempt: Attempt, now: float, cause: str, reason: str, step: Step, cure: str) -> None:
    """It ended well for us, and the peer says that it did not: it failed at that station."""
    if attempt.outcome != Outcome.ESTABLISHED:
        return
    stations = list(Step)
    before = stations[: stations.index(step)]
    attempt.outcome, attempt.steps = Outcome.RUNNING, [taken for taken in attempt.steps if taken.step in before]
    fail(attempt, now, cause, reason, step, NotifyType.AUTHENTICATION_FAILED, cure)


def succeed(attempt: Attempt, now: float) -> None:
    if attempt.outcome == Outcome.RUNNING:
        attempt.outcome, attempt.ended = Outcome.ESTABLISHED, now
