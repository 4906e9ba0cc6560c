"""The job of edge transcoding: a stream from anywhere, transcoded, published anywhere."""
