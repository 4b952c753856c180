"""TLS in memory for EAP-TLS, by OpenSSL: the engine's `TlsMachine` (RFC 5216, RFC 9190).

Python's own ssl cannot export keying material; pyOpenSSL can. Nothing blocks here: records are handed in and out.
"""

import datetime as dt
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from gateway.ike.authentication.eap.tls_machine import TlsFailed, TlsTerms

_KEY_OCTETS, _MSK_OCTETS = 128, 64
_LABEL_12, _LABEL_13, _TYPE = b"client EAP encryption", b"EXPORTER_EAP_TLS_Key_Material", b"\x0d"
_READ_OCTETS = 16_384
_COMMITMENT = b"\0"
_CIPHERS_12 = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:AES256-GCM-SHA384:AES128-GCM-SHA256"
_LEGACY_SERVER = 0x4
"""SSL_OP_LEGACY_SERVER_CONNECT: strongSwan's TLS does not know RFC 5746. What that guards against needs data before a
renegotiation: EAP-TLS has no data, and we renegotiate with nobody."""
_OPTIONS = (
    _LEGACY_SERVER
    | SSL.OP_NO_TICKET
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
)
_DEPTH = 8
_VERDICTS = {  # of X509_verify_cert, those that an administrator can do something about
    2: "the authority that issued it is not known",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself, and not trusted",
    19: "it leads to a root that is not trusted",
    20: "no trusted authority has issued it",
    21: "no trusted authority has issued it",
    24: "its issuer is no authority",
    25: "there are more authorities above it than one of them allows (path length)",
    26: "it is not for this purpose (extended key usage)",
    32: "its issuer may not sign certificates (key usage)",
    34: "it has a critical extension that is not known",
    47: "its name is outside of what its authority may name (name constraints)",
    48: "its name is among those that its authority must not name (name constraints)",
    66: "its key is too weak",
    68: "its signature's hash is too weak",
}


def make_tls(terms: TlsTerms, newest: int = SSL.TLS1_3_VERSION) -> "Machine":
    """One end of a connection, not begun. Raises TlsFailed with what is wrong with the terms."""
    try:
        return Machine(terms, newest)
    except (ValueError, TypeError) as error:
        raise TlsFailed(f"a certificate for TLS is of no use: {error}") from None
    except (SSL.Error, crypto.Error) as error:
        raise TlsFailed(f"TLS does not take a key or certificate: {_words(error)}") from None


class Machine:
    """One end, between its records and OpenSSL."""

    def __init__(self, terms: TlsTerms, newest: int) -> None:
        self._server = terms.server
        self._refused = ""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_max_proto_version(newest)
        context.set_options(_OPTIONS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(_CIPHERS_12)
        _show(context, terms)
        _trust(context, terms)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._judged)
        context.set_verify_depth(_DEPTH)
        self._connection = SSL.Connection(context, None)
        (self._connection.set_accept_state if terms.server else self._connection.set_connect_state)()
        self.done = False
        self.committed = False

    def _judged(self, _: SSL.Connection, certificate: object, error: int, depth: int, fine: int) -> bool:
        """OpenSSL's verdict on one certificate stands; its words are kept for the sentence."""
        if not fine and not self._refused:
            whose = "the certificate" if depth == 0 else f"the authority {depth} steps above the certificate"
            self._refused = f"{whose} was refused: {_VERDICTS.get(error, f'OpenSSL error {error}')}"
        return bool(fine)

    def feed(self, records: bytes) -> None:
        if records:
            self._connection.bio_write(records)
        try:
            if not self.done:
                self._connection.do_handshake()
                self.done = True
            self._read()
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            raise TlsFailed("the other end closed its TLS connection") from None
        except SSL.Error as error:
            raise TlsFailed(self._refused or f"TLS failed: {_words(error)}") from None

    def _read(self) -> None:
        """After the handshake nothing is due but the server's octet 0."""
        data = self._connection.recv(_READ_OCTETS)
        if self._server or not self.commits or self.committed or data != _COMMITMENT:
            raise TlsFailed("the other end sent data through TLS, which EAP-TLS does not have")
        self.committed = True

    def take(self) -> bytes:
        taken = b""
        while True:
            try:
                taken += self._connection.bio_read(_READ_OCTETS)
            except SSL.WantReadError:
                return taken

    @property
    def commits(self) -> bool:
        return self._connection.get_protocol_version_name() == "TLSv1.3"

    def commit(self) -> None:
        if self.commits:
            self._connection.send(_COMMITMENT)

    def msk(self) -> bytes:
        if self.commits:
            return self._connection.export_keying_material(_LABEL_13, _KEY_OCTETS, _TYPE)[:_MSK_OCTETS]
        return self._connection.export_keying_material(_LABEL_12, _KEY_OCTETS)[:_MSK_OCTETS]

    def chain(self) -> tuple[bytes, ...]:
        sent = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        own = self._connection.get_peer_certificate(as_cryptography=True)
        chain = [own, *[one for one in sent if one != own]] if own else sent
        return tuple(one.public_bytes(Encoding.DER) for one in chain)


def _show(context: SSL.Context, terms: TlsTerms) -> None:
    """Our own certificate, those above it, and its key."""
    own, *above = _certificates(terms.chain)
    context.use_certificate(own)
    for certificate in above:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(terms.key)  # type: ignore[arg-type]
    context.check_privatekey()


def _trust(context: SSL.Context, terms: TlsTerms) -> None:
    """Nobody but the anchors; an anchor may be an authority below a root."""
    store = context.get_cert_store()
    assert store is not None
    anchors = _certificates(terms.anchors)
    for certificate in (*anchors, *_certificates(terms.intermediates)):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    if any(certificate.issuer != certificate.subject for certificate in anchors):
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(dt.datetime.fromtimestamp(terms.unix, dt.UTC))
    if terms.server:
        for certificate in anchors:
            context.add_client_ca(certificate)


def _certificates(chain: Iterable[bytes]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(one) for one in chain]


def _words(error: Exception) -> str:
    """The last of what OpenSSL says, which is the nearest to the cause."""
    told = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(told[-1][-1]) if told else "the other end's records make no sense"
