"""What an object of each kind is called, for people; by itself, as the command needs it without all of storage."""

SINGULAR = {
    "proposals": "proposal",
    "psks": "key",
    "ppks": "post-quantum pre-shared key",
    "authorities": "authority",
    "certificates": "certificate",
    "pools": "pool",
    "access_profiles": "access profile",
    "users": "user",
    "devices": "device",
    "radius": "RADIUS server",
    "peers": "peer",
    "shunts": "shunt",
    "blocks": "block",
}
