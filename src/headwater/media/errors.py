"""The error of this room: media bytes that break their own format."""

from __future__ import annotations


class MediaError(Exception):
    """Media bytes that cannot be used; the message says what is wrong with them."""
