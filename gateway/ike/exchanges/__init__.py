"""The exchanges of RFC 7296, one file each."""
