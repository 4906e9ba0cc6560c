"""The transcoding job: decodes a live stream once and makes all its renditions of it. A process of its own for each stream."""
