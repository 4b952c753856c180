"""Files for strongSwan on Linux: swanctl.conf, and a connection of NetworkManager's strongSwan plugin."""

import ssl
from dataclasses import replace

from gateway.policy.proposals import Proposal
from gateway.service.profiles.joining import Joining, Unfit

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@:/,=* ")


def keywords(proposals: tuple[Proposal, ...], between: str = ",") -> str:
    """As strongSwan writes them.

    Version 5 knows no additional key exchanges, and with one in it refuses the whole connection: where there is a
    proposal without them, those with them are left out.
    """
    plain = [replace(one, additional=()) for one in proposals if all(None in choices for _, choices in one.additional)]
    return between.join(dict.fromkeys(proposal.keywords for proposal in plain or proposals))


def _safe(text: str) -> str:
    """A value that ends no line and opens no section. Raises Unfit."""
    if not set(text) <= _PLAIN:
        raise Unfit(f"{text!r} has signs that cannot be written into this file")
    return text


def swanctl(joining: Joining) -> bytes:
    """A file for /etc/swanctl/conf.d; its authority belongs beside it, and is inside as comments say. Raises Unfit."""
    networks = ",".join(joining.networks or ("0.0.0.0/0", "::/0"))
    authority = f"ikegate-{joining.title}.pem"
    lines = [
        f"# Remote access to {_safe(joining.server)} for {_safe(joining.login)}.",
        f"# Put the certificate below, without the signs before it, into /etc/swanctl/x509ca/{authority}.",
        *(f"#: {line}" for line in _pem(joining.anchor)),
        "# Then write the password below, and run: swanctl --load-all && swanctl --initiate --child net",
        "connections {",
        f"  {_safe(joining.title)} {{",
        "    version = 2",
        f"    remote_addrs = {joining.server}",
        "    vips = 0.0.0.0,::",
        f"    proposals = {keywords(joining.ike)}",
        "    local {",
        "      auth = eap",
        f'      id = "{joining.login}"',
        f'      eap_id = "{joining.login}"',
        "    }",
        "    remote {",
        "      auth = pubkey",
        f'      id = "{_safe(joining.server_id)}"',
        *([f"      cacerts = {authority}"] if joining.anchor else []),
        "    }",
        "    children {",
        "      net {",
        f"        remote_ts = {networks}",
        f"        esp_proposals = {keywords(joining.esp)}",
        "      }",
        "    }",
        "  }",
        "}",
        "secrets {",
        f"  eap-{joining.title} {{",
        f'    id = "{joining.login}"',
        '    secret = "PASSWORD"',
        "  }",
        "}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _pem(der: bytes) -> list[str]:
    return ssl.DER_cert_to_PEM_cert(der).splitlines() if der else []


def network_manager(joining: Joining) -> bytes:
    """A keyfile for /etc/NetworkManager/system-connections; the plugin asks for the password. Raises Unfit."""
    authority = f"/etc/ipsec.d/cacerts/ikegate-{_safe(joining.title)}.pem"
    lines = [
        f"# Put this certificate, without the signs before it, into {authority}.",
        *(f"#: {line}" for line in _pem(joining.anchor)),
        "[connection]",
        f"id={joining.title} ({_safe(joining.server)})",
        f"uuid={joining.identifier('profile').lower()}",
        "type=vpn",
        "",
        "[vpn]",
        "service-type=org.freedesktop.NetworkManager.strongswan",
        f"address={joining.server}",
        f"certificate={authority}",
        f"remote-identity={_safe(joining.server_id)}",
        "method=eap",
        f"user={_safe(joining.login)}",
        "password-flags=1",
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
    return ("\n".join(lines) + "\n").encode()
