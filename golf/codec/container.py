"""model.golf: one file of named tensors, every byte of it checked before it is decoded.

    "GOLF"  version  packed size  raw size  checksum │ packed header │ section 0 │ section 1 │ …
       4       1          4           4         4     bytes

All integers are little-endian; a checksum is CRC-32, which no change of up to 32 neighbouring bits escapes. The first
one covers everything before it and the packed header, which is Brotli over JSON: the model's shape, what the writer
noted, the tensor table, and each section's codec, packed size and checksum. Tensors of one pattern, such as
``blocks.#.mlp.fc.weight.codes``, fill one line of the table; codes of one pattern share a section, and so do all
tensors of a wider type. The order of the table is the order of the bytes.
"""

import itertools
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golf.codec import entropy, planes
from golf.ground import schema
from golf.ground.errors import BadArtifact
from golf.ground.schema import Natural
from golf.ground.shape import Shape

MAGIC, VERSION = b"GOLF", 1
START = struct.Struct("<4sBIII")
HEADER_LIMIT = 1 << 20  # bytes of the unpacked header
RAW_LIMIT = 1 << 30  # bytes of all tensors unpacked; a claim beyond it is damage
TENSORS, PATTERN, DIMENSIONS = 1 << 14, 256, 4  # at most so many tensors, characters of a pattern, dimensions
TYPES = {"int8": np.dtype("<i1"), "int16": np.dtype("<i2"), "float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
DECODERS = {"brotli": planes.decode, "entropy": entropy.decode}
CURE = "run compress again, or bring it back with: dvc checkout compress"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Tensors of one type and shape: the pattern with each number for its #, or the pattern itself without numbers."""

    pattern: str
    numbers: tuple[Natural, ...]
    shape: tuple[Natural, ...]

    @property
    def names(self) -> list[str]:
        return [self.pattern.replace("#", str(n), 1) for n in self.numbers] or [self.pattern]

    def problems(self):
        if len(self.pattern) > PATTERN:
            yield "pattern", f"has {len(self.pattern):,} characters, at most {PATTERN} are allowed"
        if len(self.shape) > DIMENSIONS or 0 in self.shape:
            yield "shape", f"must have at most {DIMENSIONS} dimensions, none of them 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Bytes that are packed together, by a codec of their own."""

    codec: str
    dtype: str
    packed: Natural
    crc: Natural
    lines: tuple[Line, ...]

    @property
    def name(self) -> str:
        if not self.dtype.startswith("int"):
            return self.dtype
        return self.lines[0].pattern + (" int16" if self.dtype == "int16" else "")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [line.shape for line in self.lines for _ in line.names]

    def problems(self):
        if self.codec not in DECODERS:
            yield "codec", f"must be one of {', '.join(DECODERS)}, got {self.codec}"
        if self.dtype not in TYPES:
            yield "dtype", f"must be one of {', '.join(TYPES)}, got {self.dtype}"
        if not self.lines:
            yield "lines", "holds no tensor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a .golf file says of itself. seen: the splits that influenced it."""

    model: Shape
    seen: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def raw(self) -> int:
        """Bytes of all tensors, unpacked."""
        return sum(planes.raw_size(TYPES[section.dtype], section.shapes) for section in self.sections)

    def problems(self):
        lines = [line for section in self.sections for line in section.lines]
        count = sum(max(1, len(line.numbers)) for line in lines)
        if count > TENSORS:
            yield "sections", f"name {count:,} tensors, at most {TENSORS:,} are allowed"
        elif len({name for line in lines for name in line.names}) != count:
            yield "sections", "name a tensor twice"


def read(path) -> tuple[dict[str, torch.Tensor], Header]:
    """The tensors and the header. Raises BadArtifact, naming the section, for any damage, before decoding it."""
    data = Path(path).read_bytes() if Path(path).is_file() else None
    if data is None:
        raise BadArtifact(path, "not found", CURE)
    header, bodies = opened(path, data)
    tensors = {}
    for section, body in zip(header.sections, bodies, strict=True):
        try:
            arrays = DECODERS[section.codec](body, TYPES[section.dtype], section.shapes)
        except planes.Damaged as error:
            raise BadArtifact(path, f"section {section.name} does not decode: {error}", CURE) from None
        names = [name for line in section.lines for name in line.names]
        tensors |= {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
    return tensors, header


def opened(path, data: bytes) -> tuple[Header, list[bytes]]:
    """The header and the packed sections, all lengths and checksums seen to match."""
    if len(data) < START.size or data[:4] != MAGIC:
        raise BadArtifact(path, "not a .golf file", CURE)
    _, version, packed, raw, crc = START.unpack_from(data)
    if version != VERSION:
        raise BadArtifact(path, f"format version {version}, this code reads {VERSION}", CURE)
    text = data[START.size : START.size + packed]
    if len(text) != packed or raw > HEADER_LIMIT or zlib.crc32(data[: START.size - 4] + text) != crc:
        raise BadArtifact(path, "its header is damaged", CURE)
    header = read_header(path, text, raw)
    if header.raw > RAW_LIMIT:
        raise BadArtifact(path, f"claims {header.raw:,} bytes of tensors, at most {RAW_LIMIT:,} are allowed", CURE)
    ends = list(itertools.accumulate([section.packed for section in header.sections], initial=START.size + packed))
    if ends[-1] != len(data):
        raise BadArtifact(path, f"{len(data):,} bytes long, its header says {ends[-1]:,}", CURE)
    bodies = [data[a:b] for a, b in itertools.pairwise(ends)]
    for section, body in zip(header.sections, bodies, strict=True):
        if zlib.crc32(body) != section.crc:
            raise BadArtifact(path, f"section {section.name} is damaged: its checksum does not match", CURE)
    return header, bodies


def read_header(path, packed: bytes, size: int) -> Header:
    try:
        tree = json.loads(planes.unbrotli(packed, size))
    except (planes.Damaged, ValueError, RecursionError) as error:
        raise BadArtifact(path, f"its header is not readable ({error})", CURE) from None
    header, problems = schema.build(Header, tree, "header")
    if problems:
        raise BadArtifact(path, f"its header is not valid: {problems[0]}", CURE)
    return header


def seen(path) -> tuple[str, ...]:
    """The splits that influenced a file, as its header says. Raises BadArtifact for damage."""
    return opened(path, Path(path).read_bytes())[0].seen


def sizes(path) -> dict[str, int]:
    """Bytes by section; they add up to the file's."""
    header, bodies = opened(path, Path(path).read_bytes())
    found = {section.name: len(body) for section, body in zip(header.sections, bodies, strict=True)}
    return {"header": Path(path).stat().st_size - sum(found.values()), **found}
