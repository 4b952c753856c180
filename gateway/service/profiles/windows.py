"""A PowerShell script for the client of Windows (Microsoft: Add-VpnConnection, Set-VpnConnectionIPsecConfiguration).

The script sets the algorithms: those that Windows takes without being told are weak (3DES, 1024-bit groups).
"""

import base64
import ipaddress

from gateway.service.profiles.joining import Joining, suite

_ENCRYPTION = {"aes256gcm16": "GCMAES256", "aes128gcm16": "GCMAES128", "aes256": "AES256", "aes128": "AES128"}
_INTEGRITY = {"sha384": "SHA384", "sha256": "SHA256"}
_ESP_INTEGRITY = {"sha256": "SHA256128"}
_GROUPS = {"ecp384": "ECP384", "ecp256": "ECP256", "modp2048": "Group14"}
_PFS = {"ecp384": "ECP384", "ecp256": "ECP256", "modp2048": "PFS2048"}


def quoted(text: str) -> str:
    """A literal string of PowerShell: nothing in it is read but the quotes, of which there are five kinds."""
    return "'" + "".join(sign * 2 if sign in "'\u2018\u2019\u201a\u201b" else sign for sign in text) + "'"


def script(joining: Joining) -> bytes:
    """Run it as the user, as administrator where the authority must be installed. Raises Unfit."""
    ike = suite(joining.ike, _ENCRYPTION, _INTEGRITY, _GROUPS, "Windows")
    esp = suite(joining.esp, _ENCRYPTION, _ESP_INTEGRITY, _PFS, "Windows")
    esp_auth = esp.integrity or esp.encryption  # a combined-mode cipher stands in both places
    connection = (
        f"Add-VpnConnection -Name $name -ServerAddress {quoted(joining.server)} -TunnelType Ikev2 "
        "-AuthenticationMethod Eap -EncryptionLevel Maximum -RememberCredential"
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
        *_install_authority(joining.anchor),
        "Get-VpnConnection -Name $name -ErrorAction SilentlyContinue | Remove-VpnConnection -Force",
        connection + (" -SplitTunneling" if joining.networks else ""),
        algorithms,
        *(
            f"Add-VpnConnectionRoute -ConnectionName $name -DestinationPrefix {quoted(str(network))}"
            for network in map(ipaddress.ip_network, joining.networks)
        ),
        f"Write-Host ('Connect to ' + $name + ' as ' + {quoted(joining.login)})",
    ]
    return ("\r\n".join(lines) + "\r\n").encode("utf-8-sig")


def _install_authority(der: bytes) -> list[str]:
    if not der:
        return []
    return [
        f"$octets = [Convert]::FromBase64String('{base64.b64encode(der).decode()}')",
        "$certificate = New-Object Security.Cryptography.X509Certificates.X509Certificate2 (,$octets)",
        "$store = New-Object Security.Cryptography.X509Certificates.X509Store ('Root', 'LocalMachine')",
        "$store.Open('ReadWrite')",
        "$store.Add($certificate)",
        "$store.Close()",
    ]
