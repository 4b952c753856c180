"""FreeRADIUS beside a gateway, which asks it about users of whom the gateway itself knows nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509

from tests.ike.eap_lab import SERVER, issue
from tests.interop.eap_ends import NOW, PASSWORD, ROOT, USER, key, load, pem, they_call
from tests.interop.tunnels import Pair, Settings, Tunnel, text_of
from tests.lab.appliance import Plain
from tests.lab.freeradius import FreeRadius
from tests.lab.namespaces import Namespace

USERS = f"""
{USER} Cleartext-Password := "{PASSWORD}"
  Class = "staff"
cut Cleartext-Password := "{PASSWORD}"
  Class = "staff"
leaving Cleartext-Password := "{PASSWORD}"
hasty Cleartext-Password := "{PASSWORD}"
  Session-Timeout = 4
guest Cleartext-Password := "{PASSWORD}"
fixed Cleartext-Password := "{PASSWORD}"
  Framed-IP-Address = 10.99.0.77,
  Framed-IPv6-Address = fd00:99::77
anna@lab Auth-Type := EAP
foreign@lab Auth-Type := EAP
"""


def radius_in(ns: Namespace, folder: Path, *, method: str = "mschapv2") -> Iterator[FreeRadius]:
    """The server for as long as the iterator stands; `method` is what it begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    server = issue("aaa", ROOT, san=(x509.DNSName("aaa.lab"),), usage=SERVER, now=NOW)
    (folder / "server.pem").write_text(pem(server))
    (folder / "server.key").write_text(key(server))
    (folder / "root.pem").write_text(pem(ROOT))
    with FreeRadius(folder, USERS, ns=ns, method=method) as running:
        yield running


def load_asking(
    pair: Pair,
    tunnel: Tunnel,
    radius: FreeRadius,
    password: str = PASSWORD,
    *,
    pools: Sequence[Plain] = (),
    **of: object,
) -> None:
    """Of the users we know none. `of` are further settings of the server."""
    ports = {"port": radius.port, "accounting_port": radius.accounting_port}
    server = {"name": "one", "address": "127.0.0.1", "secret": radius.secret.decode(), **ports, **of}
    load(pair, tunnel, password, users=(), radius=[server], pools=list(pools))


def load_user(pair: Pair, tunnel: Tunnel, radius: FreeRadius, user: str, **of: object) -> None:
    """The same with another user's password at strongSwan's end; a test that counts sessions has one of its own."""
    load_asking(pair, tunnel, radius, **of)  # type: ignore[arg-type]
    secrets = {f"eap-{user}": {"id": user, "secret": PASSWORD}, f"ike-{tunnel.name}": tunnel.their_psk()}
    pair.charon.load(text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": secrets}))


def passed_through(name: str, local: Settings) -> Tunnel:
    """strongSwan is the client, and each EAP message goes through us."""
    return they_call(name, {"local": local}, {"remote_auth": [{"method": "eap", "eap_methods": ["radius"]}]})


def user_by(method: str) -> Settings:
    """strongSwan's end of a user with a password, who believes the server by its certificate where it has one."""
    return {"auth": f"eap-{method}", "eap_id": USER, "id": "laptop.lab", "aaa_id": "aaa.lab"}
