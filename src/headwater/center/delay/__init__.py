"""Delayed streams: a live stream published again, so much later, from a buffer on disk."""
