"""Snapshots: a JPEG of a live stream every so many seconds, made of its key frames alone."""
