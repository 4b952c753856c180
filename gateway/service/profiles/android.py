"""Profiles of strongSwan's client for Android (docs.strongswan.org: "Android VPN Client Profiles"), as JSON."""

import base64
import json
from typing import Any

from gateway.service.profiles.joining import Joining
from gateway.service.profiles.linux import keywords


def profile(joining: Joining) -> bytes:
    """An .sswan file; the client asks for the password: of the person, or of the device's key."""
    remote: dict[str, Any] = {"addr": joining.server, "id": joining.server_id}
    if joining.anchor:
        remote["cert"] = base64.b64encode(joining.anchor).decode()
    document: dict[str, Any] = {
        "uuid": joining.identifier("profile").lower(),
        "name": f"{joining.title} ({joining.server})",
        "type": _type(joining),
        "remote": remote,
        "local": _local(joining),
        "ike-proposal": keywords(joining.ike),
        "esp-proposal": keywords(joining.esp),
    }
    if joining.networks:
        document["split-tunneling"] = {"subnets": list(joining.networks)}
    return (json.dumps(document, indent=2) + "\n").encode()


def _type(joining: Joining) -> str:
    if joining.device is None:
        return "ikev2-eap"
    return "ikev2-cert-eap" if joining.two_rounds else "ikev2-cert"


def _local(joining: Joining) -> dict[str, str]:
    device = joining.device
    if device is None:
        return {"eap_id": joining.login}
    said = {"id": device.identity, "p12": base64.b64encode(device.pkcs12(old=True)).decode()}
    return {**said, "eap_id": joining.login} if joining.two_rounds else said
