"""What the administrator wants, as frozen values."""
