"""Files for strongSwan on Linux: swanctl.conf, and a connection of NetworkManager's strongSwan plugin."""

import ssl
from dataclasses import replace

from gateway.policy.proposals import Proposal
from gateway.service.profiles.joining import Joining, Unfit

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+@:/,=* ")


def keywords(proposals: tuple[Proposal, ...], between: str = ",") -> str:
    """As strongSwan writes them.

    Version 5 knows no additional key exchanges, and with one in it refuses the whole connection: where there is a
    proposal without them, those with them are left out.
    """
    plain = [replace(one, additional=()) for one in proposals if all(None in choices for _, choices in one.additional)]
    return between.join(dict.fromkeys(proposal.keywords for proposal in plain or proposals))


def safe(text: str) -> str:
    """A value that ends no line and opens no section. Raises Unfit."""
    if not set(text) <= _PLAIN:
        raise Unfit(f"{text!r} has signs that cannot be written into this file")
    return text


def swanctl(joining: Joining) -> bytes:
    """A file for /etc/swanctl/conf.d; its authority belongs beside it, and is inside as comments say. Raises Unfit."""
    authority = f"ikegate-{joining.title}.pem"
    lines = [
        f"# Remote access to {safe(joining.server)} for {safe(joining.login)}.",
        f"# Put the certificate below, without the signs before it, into /etc/swanctl/x509ca/{authority}.",
        *(f"#: {line}" for line in _pem(joining.anchor)),
        "# Then write the password below, and run: swanctl --load-all && swanctl --initiate --child net",
        *connection(joining, ["    local {", *by_password(joining), "    }"]),
        *password(joining),
    ]
    return ("\n".join(lines) + "\n").encode()


def connection(joining: Joining, local: list[str]) -> list[str]:
    """The connections section, with what says how the device proves itself. Raises Unfit."""
    networks = ",".join(joining.networks or ("0.0.0.0/0", "::/0"))
    return [
        "connections {",
        f"  {safe(joining.title)} {{",
        "    version = 2",
        f"    remote_addrs = {safe(joining.server)}",
        "    vips = 0.0.0.0,::",
        f"    proposals = {keywords(joining.ike)}",
        *local,
        "    remote {",
        "      auth = pubkey",
        f'      id = "{safe(joining.server_id)}"',
        *([f"      cacerts = ikegate-{joining.title}.pem"] if joining.anchor else []),
        "    }",
        "    children {",
        "      net {",
        f"        remote_ts = {networks}",
        f"        esp_proposals = {keywords(joining.esp)}",
        "      }",
        "    }",
        "  }",
        "}",
    ]


def by_password(joining: Joining) -> list[str]:
    """The lines of a round by EAP. Raises Unfit."""
    login = safe(joining.login)
    return ["      auth = eap", f'      id = "{login}"', f'      eap_id = "{login}"']


def password(joining: Joining) -> list[str]:
    """The secrets section with a place for the person's password."""
    return [
        "secrets {",
        f"  eap-{joining.title} {{",
        f'    id = "{safe(joining.login)}"',
        '    secret = "PASSWORD"',
        "  }",
        "}",
    ]


def _pem(der: bytes) -> list[str]:
    return ssl.DER_cert_to_PEM_cert(der).splitlines() if der else []


def network_manager(joining: Joining) -> bytes:
    """A keyfile for /etc/NetworkManager/system-connections; the plugin asks for the password. Raises Unfit."""
    authority = f"/etc/ipsec.d/cacerts/ikegate-{safe(joining.title)}.pem"
    lines = [
        f"# Put this certificate, without the signs before it, into {authority}.",
        *(f"#: {line}" for line in _pem(joining.anchor)),
        *keyfile(joining, authority, ["method=eap", f"user={safe(joining.login)}", "password-flags=1"]),
    ]
    return ("\n".join(lines) + "\n").encode()


def keyfile(joining: Joining, authority: str, proof: list[str]) -> list[str]:
    """A connection of NetworkManager's strongSwan plugin, with what says how the device proves itself. Raises Unfit."""
    return [
        "[connection]",
        f"id={joining.title} ({safe(joining.server)})",
        f"uuid={joining.identifier('profile').lower()}",
        "type=vpn",
        "",
        "[vpn]",
        "service-type=org.freedesktop.NetworkManager.strongswan",
        f"address={joining.server}",
        f"certificate={authority}",
        f"remote-identity={safe(joining.server_id)}",
        *proof,
        "virtual=yes",
        "encap=no",
        "proposal=yes",
        f"ike={keywords(joining.ike, ';')}",
        f"esp={keywords(joining.esp, ';')}",
        *([f"remote-ts={';'.join(joining.networks)}"] if joining.networks else []),
        "",
        "[ipv4]",
        "method=auto",
        *(["never-default=true"] if joining.networks else []),
        "",
        "[ipv6]",
        "method=auto",
        *(["never-default=true"] if joining.networks else []),
    ]
