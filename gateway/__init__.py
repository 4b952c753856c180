"""ikegate: a web-managed IKEv2/IPsec VPN gateway in one process."""

__version__ = "0.1.0"
