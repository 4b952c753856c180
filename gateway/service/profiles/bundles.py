"""For Linux, what a device with a certificate needs: a tar file of all files in their places, to be unpacked at /."""

import io
import ssl
import tarfile

from gateway.crypto.containers import key_pem
from gateway.service.profiles.joining import DeviceKey, Joining, Unfit
from gateway.service.profiles.linux import by_password, connection, keyfile, password, safe

_PRIVATE = 0o600


def swanctl(joining: Joining) -> bytes:
    """Then: swanctl --load-all && swanctl --initiate --child net. Raises Unfit."""
    device, name = _device(joining), f"ikegate-{safe(joining.title)}.pem"
    proof = ["      auth = pubkey", f"      certs = {name}", f'      id = "{safe(device.identity)}"']
    rounds = [["    local-1 {", *proof, "    }"]]
    if joining.two_rounds:
        rounds.append(["    local-2 {", *by_password(joining), "    }"])
    lines = [
        f"# Remote access to {safe(joining.server)} for {safe(joining.login)}.",
        *(["# Write the password below."] if joining.two_rounds else []),
        *connection(joining, [line for one in rounds for line in one]),
        *(password(joining) if joining.two_rounds else []),
    ]
    own, *between = device.chain
    files = {
        f"etc/swanctl/conf.d/ikegate-{joining.title}.conf": "\n".join(lines) + "\n",
        f"etc/swanctl/private/{name}": key_pem(device.key),
        f"etc/swanctl/x509/{name}": ssl.DER_cert_to_PEM_cert(own),
        **{
            f"etc/swanctl/x509ca/ikegate-{joining.title}-{number}.pem": ssl.DER_cert_to_PEM_cert(one)
            for number, one in enumerate(between, 1)
        },
    }
    if joining.anchor:
        files[f"etc/swanctl/x509ca/{name}"] = ssl.DER_cert_to_PEM_cert(joining.anchor)
    return _tar(files)


def network_manager(joining: Joining) -> bytes:
    """Then: nmcli connection reload. Raises Unfit."""
    device, name = _device(joining), f"ikegate-{safe(joining.title)}.pem"
    if joining.two_rounds:
        raise Unfit("NetworkManager's plugin proves itself once: choose swanctl, or a peer that asks for one proof")
    proof = [
        "method=cert",
        "cert-source=file",
        f"usercert=/etc/ipsec.d/certs/{name}",
        f"userkey=/etc/ipsec.d/private/{name}",
        f"local-identity={safe(device.identity)}",
    ]
    lines = keyfile(joining, f"/etc/ipsec.d/cacerts/{name}", proof)
    own, *_ = device.chain
    files = {
        f"etc/NetworkManager/system-connections/ikegate-{joining.title}.nmconnection": "\n".join(lines) + "\n",
        f"etc/ipsec.d/private/{name}": key_pem(device.key),
        f"etc/ipsec.d/certs/{name}": ssl.DER_cert_to_PEM_cert(own),
        f"etc/ipsec.d/cacerts/{name}": ssl.DER_cert_to_PEM_cert(joining.anchor or device.root),
    }
    return _tar(files)


def _device(joining: Joining) -> DeviceKey:
    if joining.device is None:
        raise Unfit("there is no certificate to put into this file")
    return joining.device


def _tar(files: dict[str, str]) -> bytes:
    """For root alone, each of them."""
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size, member.uname, member.gname = _PRIVATE, len(text.encode()), "root", "root"
            archive.addfile(member, io.BytesIO(text.encode()))
    return octets.getvalue()
