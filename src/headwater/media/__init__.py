"""Bytes of audio and video, as pure functions: tags, codecs, FLV, MPEG-TS, HLS playlists, timelines."""
