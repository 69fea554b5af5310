"""What changes on a page without a reload: the feed in memory, the parts of pages, and the one WebSocket."""
