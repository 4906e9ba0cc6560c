"""The live center: what is made of a live stream beside its delivery. Transcoding, recording, snapshots, time shift."""
