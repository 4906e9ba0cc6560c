"""The media worker: its process, its listeners and connections, and what it tells of itself."""
