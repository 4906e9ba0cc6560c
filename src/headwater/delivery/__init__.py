"""The streaming node: plays over RTMP, HTTP-FLV, WebSocket-FLV and HLS."""
