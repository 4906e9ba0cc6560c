"""Protocol engines without I/O: bytes in, events out."""
