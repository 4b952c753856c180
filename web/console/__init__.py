"""The browser console: pages that are complete without JavaScript and live with it."""
