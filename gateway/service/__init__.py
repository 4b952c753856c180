"""The asyncio side: sockets, timers, effects, use cases, live status and journal."""
