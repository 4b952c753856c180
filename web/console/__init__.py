"""The browser console: pages that are complete without JavaScript and live with it."""

from web.console.pages import console_routes

__all__ = ["console_routes"]
