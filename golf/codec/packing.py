"""The .golf file from tensors: what ``golf.codec.container`` reads, written. Not part of what is submitted."""

import dataclasses
import json
import re
import struct
import zlib

import brotli
import constriction
import numpy as np
import torch

from golf.codec import entropy, planes
from golf.codec.container import HEADER_LIMIT, MAGIC, RAW_LIMIT, START, TYPES, VERSION, Header, Line, Section
from golf.codec.fit import centred, fit
from golf.ground.errors import OverBudget
from golf.ground.shape import Shape

BROTLI_WINDOW = 24  # log2 of bytes; the default of 22 is smaller than the record's embedding
SMALL = 1 << 16  # bytes, up to which a section is packed both ways; Brotli takes a second for each million


def pack(tensors: dict[str, torch.Tensor], shape: Shape, *, seen: tuple[str, ...], codec: str, quality: int) -> bytes:
    """The file. tensors: int8, int16, fp16 or fp32, none empty. The same tensors give the same bytes, in any order.

    codec: entropy is for integers; floats, whose low bytes are noise, and whatever small section it makes larger go
    through Brotli.
    """
    sections, bodies = [], []
    for dtype, lines in grouped(tensors):
        arrays = [tensors[name].detach().cpu().contiguous().numpy() for line in lines for name in line.names]
        used, body = packed([array.astype(TYPES[dtype], copy=False) for array in arrays], codec, quality)
        bodies.append(body)
        sections.append(Section(codec=used, dtype=dtype, packed=len(body), crc=zlib.crc32(body), lines=tuple(lines)))
    header = Header(model=shape, seen=tuple(seen), sections=tuple(sections))
    text = json.dumps(dataclasses.asdict(header), separators=(",", ":")).encode()
    if header.raw > RAW_LIMIT or len(text) > HEADER_LIMIT:
        raise OverBudget(
            f"model: {header.raw:,} bytes unpacked, a .golf file holds {RAW_LIMIT:,}; a smaller model fits"
        )
    told = brotli.compress(text)
    start = START.pack(MAGIC, VERSION, len(told), len(text), 0)[:-4]
    return b"".join([start, struct.pack("<I", zlib.crc32(start + told)), told, *bodies])


def packed(arrays: list[np.ndarray], codec: str, quality: int) -> tuple[str, bytes]:
    """(codec used, bytes) of a section."""
    if codec == "brotli" or arrays[0].dtype.kind != "i":
        return "brotli", by_brotli(arrays, quality)
    ours = by_entropy(arrays, quality)
    if sum(array.nbytes for array in arrays) <= SMALL and len(theirs := by_brotli(arrays, quality)) <= len(ours):
        return "brotli", theirs
    return "entropy", ours


def grouped(tensors: dict[str, torch.Tensor]) -> list[tuple[str, list[Line]]]:
    """(type, lines) of each section: patterns in the order of the alphabet, a section for each pattern of integers."""
    folded = {}
    for name, tensor in tensors.items():
        number = re.search(r"(?<![^.])(?:0|[1-9][0-9]*)(?![^.])", name)
        pattern = name[: number.start()] + "#" + name[number.end() :] if number else name
        key = str(tensor.dtype).removeprefix("torch."), pattern, tuple(tensor.shape)
        folded.setdefault(key, []).extend([int(number[0])] if number else [])
    sections = {}
    for (dtype, pattern, shape), numbers in sorted(folded.items()):
        line = Line(pattern=pattern, numbers=tuple(sorted(numbers)), shape=shape)
        sections.setdefault((dtype, pattern if dtype.startswith("int") else ""), []).append(line)
    return [(dtype, lines) for (dtype, _), lines in sections.items()]


def by_brotli(arrays: list[np.ndarray], quality: int) -> bytes:
    """What ``planes.decode`` reads."""
    return brotli.compress(planes.planes(arrays), quality=quality, lgwin=BROTLI_WINDOW)


def by_entropy(arrays: list[np.ndarray], quality: int) -> bytes:
    """What ``entropy.decode`` reads: integers, none empty. quality: Brotli's, for rows and templates."""
    numbers, drawn = [], []

    def draw(level: int, values: np.ndarray) -> None:
        reach, model = entropy.table(level)
        beyond = np.abs(values) > reach
        numbers.append(values[beyond])
        drawn.append((np.where(beyond, 0, values + reach + 1).astype(np.int32), model))

    for array in arrays:
        codes_OI = array.reshape(entropy.matrix(array.shape))
        found = fit(codes_OI)
        centre, level = centred(found.column_I)
        numbers += [[len(found.templates_TI), centre, level], found.templates_TI.ravel(), found.choice_O, found.row_O]
        draw(level, found.column_I - centre)
        residual_OI = codes_OI - found.templates_TI[found.choice_O]
        for level, block in entropy.blocks(found.row_O, found.column_I):
            draw(level, residual_OI[block].ravel().astype(np.int32))
    coder = constriction.stream.stack.AnsCoder()
    for symbols, model in reversed(drawn):
        coder.encode_reverse(symbols, model)
    side = np.concatenate(numbers).astype(entropy.NUMBERS)
    packed = by_brotli([side], quality)
    words = coder.get_compressed().astype(entropy.WORDS).tobytes()
    return entropy.START.pack(len(side), len(packed)) + packed + words
