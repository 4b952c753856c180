"""The REST API and the browser console."""
