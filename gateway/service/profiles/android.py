"""Profiles of strongSwan's client for Android (docs.strongswan.org: "Android VPN Client Profiles"), as JSON."""

import base64
import json
from typing import Any

from gateway.service.profiles.joining import Joining
from gateway.service.profiles.linux import keywords


def profile(joining: Joining) -> bytes:
    """An .sswan file; the client asks for the password."""
    remote: dict[str, Any] = {"addr": joining.server, "id": joining.server_id}
    if joining.anchor:
        remote["cert"] = base64.b64encode(joining.anchor).decode()
    document: dict[str, Any] = {
        "uuid": joining.identifier("profile").lower(),
        "name": f"{joining.title} ({joining.server})",
        "type": "ikev2-eap",
        "remote": remote,
        "local": {"eap_id": joining.login},
        "ike-proposal": keywords(joining.ike),
        "esp-proposal": keywords(joining.esp),
    }
    if joining.networks:
        document["split-tunneling"] = {"subnets": list(joining.networks)}
    return (json.dumps(document, indent=2) + "\n").encode()
