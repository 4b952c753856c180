"""Certificates and keys for both ends of a tunnel: ours in the document, strongSwan's as files."""

from dataclasses import dataclass, field
from typing import Any

from tests.interop.tunnels import Pair, Tunnel
from tests.pki import Issued, issue, private, root

ROOT = root("C=CH, O=Lab, CN=Lab Root")
Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A tunnel whose ends prove themselves by signatures; further settings are those of one end's round."""

    name: str
    left: Issued
    right: Issued
    left_id: str = ""
    right_id: str = ""
    ours: Settings = field(default_factory=dict)
    """Of our `local_auth`."""
    of_them: Settings = field(default_factory=dict)
    """Of our `remote_auth`."""
    theirs: Settings = field(default_factory=dict)
    of_us: Settings = field(default_factory=dict)
    raw: bool = False
    ike: str = "aes128gcm16-prfsha256-x25519"
    peer: Settings = field(default_factory=dict)
    sent_above: bool = True
    """Whether strongSwan has the intermediates to send them."""

    def tunnel(self) -> Tunnel:
        """Both ends' configuration but for the certificates themselves."""
        left_id, right_id = self.left_id or f"{self.name}.left.lab", self.right_id or f"{self.name}.right.lab"
        own = {"method": "certificate", "certificate": self.name, **self.ours}
        peer = {"method": "certificate", **self.of_them}
        their_own = {"auth": "pubkey", "id": right_id, "certs": f"{self.name}.pem", **self.theirs}
        ask = {"auth": "pubkey", "id": left_id, "revocation": "relaxed", **self.of_us}
        if self.raw:
            own["method"] = peer["method"] = "public-key"
            peer["public_keys"] = [self.right.public_pem]
            del their_own["certs"]
            their_own["pubkeys"], ask["pubkeys"] = f"{self.name}.right.pem", f"{self.name}.left.pem"
        return Tunnel(
            name=self.name,
            ike=self.ike,
            left_id=left_id,
            right_id=right_id,
            ours={"local_auth": [own], "remote_auth": [peer], **self.peer},
            theirs={"local": their_own, "remote": ask, "send_cert": "always"},
        )

    def certificate(self) -> Settings:
        """Our certificate with its key, as the document has it."""
        chain = "".join(one.pem for one in (self.left, *self.left.above))
        return {"name": self.name, "certificate": "" if self.raw else chain, "private_key": self.left.key_pem}

    def write(self, pair: Pair) -> None:
        """strongSwan's files."""
        folder = pair.charon.swanctl_folder
        (folder / "private" / f"{self.name}.pem").write_text(self.right.key_pem)
        if self.raw:
            (folder / "pubkey" / f"{self.name}.left.pem").write_text(self.left.public_pem)
            (folder / "pubkey" / f"{self.name}.right.pem").write_text(self.right.public_pem)
            return
        (folder / "x509" / f"{self.name}.pem").write_text(self.right.pem)
        for number, one in enumerate(self.right.above if self.sent_above else ()):
            (folder / "x509ca" / f"{self.name}.{number}.pem").write_text(one.pem)


def ends(name: str, kind: str = "p256", by: Issued = ROOT, **more: Any) -> dict[str, Issued]:
    """A certificate for each end of this tunnel."""
    return {
        side: issue(f"C=CH, O=Lab, CN={name} {side}", by, f"dns:{name}.{side}.lab", key=private(kind, number), **more)
        for number, side in enumerate(("left", "right"), 1)
    }


def load(pair: Pair, *wanted: Proven, authority: Settings | None = None) -> None:
    """Both ends' configuration is this."""
    for each in ("private", "pubkey", "x509", "x509ca", "x509crl"):
        for old in (pair.charon.swanctl_folder / each).iterdir():
            old.unlink()
    (pair.charon.swanctl_folder / "x509ca" / "root.pem").write_text(ROOT.pem)
    for one in wanted:
        one.write(pair)
    pair.load(
        *(one.tunnel() for one in wanted),
        authorities=[{"name": "lab", "certificate": ROOT.pem, **(authority or {})}],
        certificates=[one.certificate() for one in wanted],
    )
