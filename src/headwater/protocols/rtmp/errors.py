"""Who is to blame when the RTMP protocol is broken: the peer or the caller."""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of both; never raised itself."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol or a limit; the message says what it did. The connection is of no use any more."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something that the connection's state does not allow: a mistake in our own code."""
