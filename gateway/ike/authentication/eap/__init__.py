"""The Extensible Authentication Protocol, both ends, as scripts over packets (RFC 3748; RFC 7296 2.16)."""
