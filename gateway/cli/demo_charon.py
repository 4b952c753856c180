"""strongSwan as the demo's branch office."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from gateway.cli.demo_network import DemoFailed, Namespace
from gateway.dataplane.probe import probe_kernel

DAEMON, CONTROL = "/usr/sbin/charon-systemd", "/usr/sbin/swanctl"
PACKAGES = "charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins"
_PLUGINS = (
    "random nonce drbg openssl aesni curve25519 chapoly ccm ctr sha1 sha2 hmac kdf pem pkcs1 pubkey x509 constraints"
    " {kernel} socket-default vici updown"
)
_PATIENCE = 15.0

_DAEMON_SETTINGS = """\
charon-systemd {{
  load = {plugins}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
  journal {{
    default = -1
  }}
  filelog {{
    stdout {{
      default = 1
    }}
  }}
}}
swanctl {{
  load = random openssl pem pkcs1 pubkey x509
}}
"""

_CONNECTION = """\
connections {{
  headquarters {{
    version = 2
    local_addrs = 192.0.2.2
    remote_addrs = 192.0.2.1
    proposals = aes256gcm16-prfsha384-x25519,aes256gcm16-prfsha256-x25519
    local {{
      auth = psk
      id = branch.example
    }}
    remote {{
      auth = psk
      id = headquarters.example
    }}
    children {{
      offices {{
        local_ts = 10.2.0.0/24
        remote_ts = 10.1.0.0/24
        esp_proposals = aes256gcm16-x25519,aes256gcm16
      }}
    }}
  }}
}}
secrets {{
  ike-demo {{
    id-1 = branch.example
    id-2 = headquarters.example
    secret = "{secret}"
  }}
}}
"""


def start_charon(branch: Namespace, folder: Path, secret: str) -> None:
    """Start charon in the branch's namespace, everything it reads and writes in `folder`, and load its connection."""
    if not Path(DAEMON).exists() or not Path(CONTROL).exists():
        raise DemoFailed(f"strongSwan is not installed: apt install {PACKAGES}")
    folder.mkdir()
    with branch.entered():
        kernel = "kernel-netlink" if probe_kernel() is None else "kernel-libipsec kernel-netlink"
    settings, connections, control = folder / "strongswan.conf", folder / "swanctl.conf", folder / "vici"
    settings.write_text(_DAEMON_SETTINGS.format(plugins=_PLUGINS.format(kernel=kernel), socket=control))
    connections.write_text(_CONNECTION.format(secret=secret))
    connections.chmod(0o600)
    # AppArmor knows the programs by their paths and keeps them from any other file than strongSwan's own.
    daemon, swanctl = (shutil.copy(program, folder) for program in (DAEMON, CONTROL))
    environment = {"STRONGSWAN_CONF": str(settings), "SWANCTL_DIR": str(folder)}
    process = branch.start(str(daemon), log=folder / "log", environment=environment)
    deadline = time.monotonic() + _PATIENCE
    while not control.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed("charon does not start")
        time.sleep(0.05)
    command = [str(swanctl), "--load-all", "--noprompt", "--file", str(connections), "--uri", f"unix://{control}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise DemoFailed(f"charon refuses its connection: {done.stderr.strip()}")
