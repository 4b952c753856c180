"""Algorithms as rows, key exchange, key derivation and keyed ciphers."""
