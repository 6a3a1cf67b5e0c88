"""Numbers of any size as bytes, LEB128: seven bits a byte, the lowest first, the eighth set in all but the last."""

from collections.abc import Iterator

__all__ = ["iter_numbers", "pack_number", "parse_number"]

_MAX_SHIFT = 63  # of a number's bits; more are damage


def pack_number(number: int) -> bytes:
    """Return the bytes of a number that is not negative."""
    packed = bytearray()
    while number >= 128:
        packed.append(number & 127 | 128)
        number >>= 7
    return bytes([*packed, number])


def parse_number(data: bytes, offset: int) -> tuple[int, int]:
    """Return (the number at ``offset``, the offset after it). Raises IndexError at the end of the data."""
    number = shift = 0
    while data[offset] >= 128 and shift < _MAX_SHIFT:
        number |= (data[offset] & 127) << shift
        offset, shift = offset + 1, shift + 7
    return number | data[offset] << shift, offset + 1


def iter_numbers(data: bytes) -> Iterator[int]:
    """Yield the numbers that fill ``data``. Raises IndexError where the last one is cut off."""
    offset = 0
    while offset < len(data):
        number, offset = parse_number(data, offset)
        yield number
