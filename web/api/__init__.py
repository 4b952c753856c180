"""One file a resource: schema and routes."""
