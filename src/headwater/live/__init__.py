"""The live stream itself: its ring of tags, its shared outputs, HLS packaging, and the hub of all streams."""
