"""A PowerShell script for the client of Windows (Microsoft: Add-VpnConnection, Set-VpnConnectionIPsecConfiguration).

The script sets the algorithms: those that Windows takes without being told are weak (3DES, 1024-bit groups).
"""

import base64
import ipaddress

from gateway.service.profiles.joining import DeviceKey, Joining, Unfit, suite

_ENCRYPTION = {"aes256gcm16": "GCMAES256", "aes128gcm16": "GCMAES128", "aes256": "AES256", "aes128": "AES128"}
_INTEGRITY = {"sha384": "SHA384", "sha256": "SHA256"}
_ESP_INTEGRITY = {"sha256": "SHA256128"}
_GROUPS = {"ecp384": "ECP384", "ecp256": "ECP256", "modp2048": "Group14"}
_PFS = {"ecp384": "ECP384", "ecp256": "ECP256", "modp2048": "PFS2048"}


def quoted(text: str) -> str:
    """A literal string of PowerShell: nothing in it is read but the quotes, of which there are five kinds."""
    return "'" + "".join(sign * 2 if sign in "'\u2018\u2019\u201a\u201b" else sign for sign in text) + "'"


def script(joining: Joining) -> bytes:
    """Run it as the user, as administrator where something must be installed. Raises Unfit."""
    ike = suite(joining.ike, _ENCRYPTION, _INTEGRITY, _GROUPS, "Windows")
    esp = suite(joining.esp, _ENCRYPTION, _ESP_INTEGRITY, _PFS, "Windows")
    esp_auth = esp.integrity or esp.encryption  # a combined-mode cipher stands in both places
    connection = (
        f"Add-VpnConnection -Name $name -ServerAddress {quoted(joining.server)} -TunnelType Ikev2 "
        f"-EncryptionLevel Maximum {_proof(joining)}"
    )
    algorithms = (
        "Set-VpnConnectionIPsecConfiguration -ConnectionName $name "
        f"-EncryptionMethod {ike.encryption} -IntegrityCheckMethod {ike.integrity or 'SHA384'} -DHGroup {ike.group} "
        f"-CipherTransformConstants {esp.encryption} -AuthenticationTransformConstants {esp_auth} "
        f"-PfsGroup {esp.group or 'None'} -Force"
    )
    lines = [
        "$ErrorActionPreference = 'Stop'",
        f"$name = {quoted(f'{joining.title} ({joining.server})')}",
        *(line for root in _roots(joining) for line in _install_authority(root)),
        *(_install_key(joining.device) if joining.device else ()),
        "Get-VpnConnection -Name $name -ErrorAction SilentlyContinue | Remove-VpnConnection -Force",
        connection + (" -SplitTunneling" if joining.networks else ""),
        algorithms,
        *(
            f"Add-VpnConnectionRoute -ConnectionName $name -DestinationPrefix {quoted(str(network))}"
            for network in map(ipaddress.ip_network, joining.networks)
        ),
        f"Write-Host ('Connect to ' + $name + ' as ' + {quoted(_who(joining))})",
    ]
    return ("\r\n".join(lines) + "\r\n").encode("utf-8-sig")


def _proof(joining: Joining) -> str:
    """Windows comes as the subject of its machine's certificate, which it signs for as ECDSA-256 (RFC 4754)."""
    if joining.two_rounds:
        raise Unfit("Windows proves itself once: the peer may ask for a certificate or a password, not for both")
    if joining.device is None:
        return "-AuthenticationMethod Eap -RememberCredential"
    if not joining.device.by_subject:
        raise Unfit("Windows comes as its certificate's subject: the peer's remote_id must fit that too, as %any does")
    return "-AuthenticationMethod MachineCertificate -MachineCertificateIssuerFilter $issuer"


def _roots(joining: Joining) -> list[bytes]:
    """Those that stand above the gateway, and above the device itself: without them Windows offers no certificate."""
    roots = (joining.anchor, joining.device.root if joining.device else b"")
    return [root for root in dict.fromkeys(roots) if root]


def _who(joining: Joining) -> str:
    return joining.device.identity if joining.device else joining.login


def _install_key(device: DeviceKey) -> list[str]:
    """Into the machine's store: from there the key cannot be exported, and is for the system alone."""
    pkcs12 = base64.b64encode(device.pkcs12(old=False)).decode()
    return [
        f"$octets = [Convert]::FromBase64String('{base64.b64encode(device.root).decode()}')",
        "$issuer = New-Object Security.Cryptography.X509Certificates.X509Certificate2 (,$octets)",
        f"$octets = [Convert]::FromBase64String('{pkcs12}')",
        "$found = New-Object Security.Cryptography.X509Certificates.X509Certificate2Collection",
        f"$found.Import($octets, {quoted(device.password)}, 'MachineKeySet,PersistKeySet')",
        "foreach ($one in $found) {",
        "  $folder = if ($one.HasPrivateKey) { 'My' } else { 'CA' }",
        "  $store = New-Object Security.Cryptography.X509Certificates.X509Store ($folder, 'LocalMachine')",
        "  $store.Open('ReadWrite')",
        "  $store.Add($one)",
        "  $store.Close()",
        "}",
    ]


def _install_authority(der: bytes) -> list[str]:
    return [
        f"$octets = [Convert]::FromBase64String('{base64.b64encode(der).decode()}')",
        "$certificate = New-Object Security.Cryptography.X509Certificates.X509Certificate2 (,$octets)",
        "$store = New-Object Security.Cryptography.X509Certificates.X509Store ('Root', 'LocalMachine')",
        "$store.Open('ReadWrite')",
        "$store.Add($certificate)",
        "$store.Close()",
    ]
