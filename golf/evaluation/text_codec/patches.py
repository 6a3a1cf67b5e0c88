"""Patch normalized text back into the original bytes: a list of patches, packed.

The normalizer collapses white space, drops control characters and bytes that are no UTF-8, and composes characters. So
most patches are line ends and indentation in place of a space. Packed, a patch is two numbers: its place, which is the
spaces of the normalized text that it skips where it stands at a space, and which of the distinct replacements it makes,
in the order of their first use.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import brotli

from golf.evaluation.text_codec import leb128

__all__ = ["Patch", "PatchError", "apply_patches", "find_patches", "pack_patches", "unpack_patches"]

_SPACES = b" \t\n\r\x0b\x0c"
_ANCHOR_BYTES = 8  # equal bytes after which the two texts count as aligned again
_NEAR_BYTES = 24  # left out and inserted, of which every combination is tried
_FAR_BYTES = 1 << 12  # looked through for the next anchor after that
_MAX_BLOCK_BYTES = 1 << 20  # compared at once
_BROTLI_WINDOW_BITS = 24
_N_COLUMNS = 3


class PatchError(Exception):
    """Packed patches that ``pack_patches`` never writes, or that do not fit the text."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Copy ``copied`` bytes of the base text, leave out the next ``omitted`` ones, and insert ``inserted``."""

    copied: int
    omitted: int
    inserted: bytes


def find_patches(base: bytes, expected: bytes) -> list[Patch]:
    """Return patches that turn ``base`` into ``expected``, few where the texts are alike, none where equal."""
    patches: list[Patch] = []
    i = j = 0  # in base and in expected
    while True:
        copied = _measure_common_prefix(base, i, expected, j)
        if i + copied == len(base) and j + copied == len(expected):
            return patches
        while copied and base[i + copied - 1] in _SPACES:  # a run of white space is one insertion
            copied -= 1
        omitted, n_inserted = _realign(base, i + copied, expected, j + copied)
        i, j = i + copied + omitted, j + copied + n_inserted
        patches.append(Patch(copied, omitted, expected[j - n_inserted : j]))


def _measure_common_prefix(base: bytes, i: int, expected: bytes, j: int) -> int:
    start, block = 0, 64
    while block:
        part = base[i + start : i + start + block]
        if part and part == expected[j + start : j + start + len(part)]:
            start, block = start + len(part), min(2 * block, _MAX_BLOCK_BYTES)
        else:
            block //= 2
    return start


def _realign(base: bytes, i: int, expected: bytes, j: int) -> tuple[int, int]:
    """(bytes to leave out of base, bytes to insert from expected) before the texts agree again; not both 0."""
    base_end, expected_end = _skip_spaces(base, i), _skip_spaces(expected, j)
    if (base_end > i or expected_end > j) and _is_equal(base, base_end, expected, expected_end):
        return base_end - i, expected_end - j
    for total in range(1, 2 * _NEAR_BYTES + 1):
        for omitted in range(max(0, total - _NEAR_BYTES), min(total, _NEAR_BYTES) + 1):
            if _is_equal(base, i + omitted, expected, j + total - omitted):
                return omitted, total - omitted
    for omitted in range(_FAR_BYTES):
        anchor = base[i + omitted : i + omitted + _ANCHOR_BYTES]
        anchor_at = expected.find(anchor, j, j + _FAR_BYTES) if len(anchor) == _ANCHOR_BYTES else -1
        if anchor_at >= 0 and (omitted or anchor_at > j):
            return omitted, anchor_at - j
    n_omitted = min(_FAR_BYTES, len(base) - i)
    return (n_omitted, min(_FAR_BYTES, len(expected) - j)) if n_omitted else (0, len(expected) - j)


def _skip_spaces(text: bytes, start: int) -> int:
    while start < len(text) and text[start] in _SPACES:
        start += 1
    return start


def _is_equal(base: bytes, i: int, expected: bytes, j: int) -> bool:
    """Whether the next bytes are equal, or both texts end within them."""
    part = expected[j : j + _ANCHOR_BYTES]
    return i <= len(base) and j <= len(expected) and base[i : i + _ANCHOR_BYTES] == part


def apply_patches(base: bytes, patches: Sequence[Patch]) -> bytes:
    """Return the patched text. Raises PatchError for patches that go beyond the end of ``base``."""
    parts, i = [], 0
    for patch in patches:
        parts += [base[i : i + patch.copied], patch.inserted]
        i += patch.copied + patch.omitted
    if i > len(base):
        raise PatchError("a patch lies beyond the text's end")
    return b"".join([*parts, base[i:]])


def pack_patches(base: bytes, patches: Sequence[Patch]) -> bytes:
    """Return the patches of ``base`` in as few bytes as Brotli makes of their columns; no byte for no patch."""
    if not patches:
        return b""
    replacements: dict[tuple[int, bytes], int] = {}
    uses = [replacements.setdefault((patch.omitted, patch.inserted), len(replacements)) for patch in patches]
    numbers = _find_places(base, patches), uses, [n for o, text in replacements for n in (o, len(text))]
    columns = [b"".join(map(leb128.pack_number, column)) for column in numbers]
    lengths = [leb128.pack_number(len(column)) for column in columns]
    raw = b"".join([*lengths, *columns, *(text for _, text in replacements)])
    return bytes(brotli.compress(raw, quality=11, lgwin=_BROTLI_WINDOW_BITS))


def _find_places(base: bytes, patches: Sequence[Patch]) -> list[int]:
    """Where each patch begins, seen from the end of the one before: 2 x the spaces skipped, or 2 x the bytes + 1."""
    places, i = [], 0
    for patch in patches:
        begin = i + patch.copied
        is_at_space = base[begin : begin + 1] == b" "
        places.append(2 * base.count(b" ", i, begin) if is_at_space else 2 * patch.copied + 1)
        i = begin + patch.omitted
    return places


def unpack_patches(base: bytes, packed: bytes) -> list[Patch]:
    """Return the patches of ``base``. Raises PatchError for bytes that ``pack_patches`` never returns for ``base``."""
    if not packed:
        return []
    try:
        raw = brotli.decompress(packed)
        lengths = list(itertools.islice(leb128.iter_numbers(raw), _N_COLUMNS))
        ends = list(itertools.accumulate(lengths, initial=sum(len(leb128.pack_number(length)) for length in lengths)))
        if ends[-1] > len(raw):
            raise PatchError("their columns are longer than the whole")
        places, uses, sizes = (list(leb128.iter_numbers(raw[a:b])) for a, b in itertools.pairwise(ends))
        replacements, offset = [], ends[-1]
        for omitted, n_inserted in zip(sizes[::2], sizes[1::2], strict=True):
            replacements.append((omitted, raw[offset : offset + n_inserted]))
            offset += n_inserted
        return _place_patches(base, places, [replacements[use] for use in uses])
    except (brotli.error, IndexError, ValueError) as error:
        raise PatchError(str(error) or "not valid") from None


def _place_patches(base: bytes, places: list[int], replacements: list[tuple[int, bytes]]) -> list[Patch]:
    """Undo ``_find_places``. Raises IndexError where ``base`` has too few spaces."""
    spaces = [position for position, byte in enumerate(base) if byte == ord(" ")]
    patches, i = [], 0
    for place, (omitted, inserted) in zip(places, replacements, strict=True):
        copied = place // 2 if place % 2 else spaces[bisect.bisect_left(spaces, i) + place // 2] - i
        patches.append(Patch(copied, omitted, inserted))
        i += copied + omitted
    return patches
