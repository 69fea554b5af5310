"""Live updates of pages: the feed in memory, the parts of pages, and the WebSocket."""
