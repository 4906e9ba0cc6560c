"""Reads numbers bit by bit from a codec's headers: fixed width, Exp-Golomb (ITU-T H.264 and H.265, 9.1 and 9.2)."""

from __future__ import annotations

from headwater.media.errors import MediaError

EXP_GOLOMB_ZEROS_MAX = 32
"""No value of a header needs more than 32 bits; a longer run of zeros is garbage."""


class BitReader:
    """Bits of `data`, most significant first. Every read raises MediaError past the end."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, bits: int) -> int:
        """An unsigned number of so many bits."""
        left = self._left - bits
        if left < 0:
            raise MediaError("a codec header ends too early")
        self._left = left
        return self._value >> left & ((1 << bits) - 1)

    def flag(self) -> bool:
        """One bit."""
        return self.u(1) == 1

    def ue(self) -> int:
        """An unsigned Exp-Golomb number."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if zeros > EXP_GOLOMB_ZEROS_MAX:
            raise MediaError("an Exp-Golomb number is too long")
        self.u(zeros + 1)
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number."""
        number = self.ue()
        return (number + 1) // 2 if number & 1 else -(number // 2)
