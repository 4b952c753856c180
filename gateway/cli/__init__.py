"""The `ikegate` command: the gateway itself, a client of its API, and tools."""

from importlib import import_module

import click

from gateway import __version__

_COMMANDS = {  # name -> module of this package and function; a module is loaded when its command is used
    "serve": ("serve", "serve"),
    "status": ("tunnels", "status"),
    "peers": ("tunnels", "peers"),
    "up": ("tunnels", "up"),
    "down": ("tunnels", "down"),
    "rekey": ("tunnels", "rekey"),
    "redirect": ("tunnels", "redirect"),
    "post-quantum": ("tunnels", "post_quantum"),
    "attempts": ("history", "attempts"),
    "events": ("history", "events"),
    "shunts": ("rules", "shunts"),
    "blocks": ("rules", "blocks"),
    "block": ("rules", "block"),
    "unblock": ("rules", "unblock"),
    "users": ("people", "users"),
    "devices": ("devices", "devices"),
    "invites": ("devices", "invites"),
    "invite": ("devices", "invite"),
    "revoke-invite": ("devices", "revoke_invite"),
    "revoke-device": ("devices", "revoke_device"),
    "access-profiles": ("people", "access_profiles"),
    "pools": ("people", "pools"),
    "leases": ("people", "leases"),
    "certificates": ("certificates", "certificates"),
    "authorities": ("certificates", "authorities"),
    "issue": ("certificates", "issue"),
    "renew": ("certificates", "renew"),
    "revoke": ("certificates", "revoke"),
    "apply": ("configuration", "apply"),
    "diff": ("configuration", "diff"),
    "export": ("configuration", "export"),
    "setup-url": ("door", "setup_url"),
    "health": ("door", "health"),
    "demo": ("demo", "demo"),
    "decode": ("decode", "decode"),
}


class _Lazy(click.Group):
    """Loads a command when it is asked for: `ikegate health` must not wait for the whole gateway to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, function = _COMMANDS[cmd_name]
        command = getattr(import_module(f"gateway.cli.{module}"), function)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ikegate")
def main() -> None:
    """A web-managed IKEv2/IPsec VPN gateway.

    `ikegate serve` runs it; the other commands ask or tell a running one over its API (IKEGATE_URL, IKEGATE_TOKEN; on
    the same machine neither is needed), or work on files.
    """
