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

from golf.compression import ans, brotli_planes
from golf.config import validation
from golf.config.model import ModelConfig
from golf.config.validation import NonNegativeInt
from golf.errors import ArtifactError

MAGIC, FORMAT_VERSION = b"GOLF", 1
PREAMBLE = struct.Struct("<4sBIII")
MAX_HEADER_BYTES = 1 << 20  # bytes of the unpacked header
MAX_RAW_BYTES = 1 << 30  # bytes of all tensors unpacked; a claim beyond it is damage
_MAX_TENSORS, _MAX_PATTERN_CHARS, _MAX_DIMENSIONS = (
    1 << 14,
    256,
    4,
)  # at most so many tensors, characters of a pattern, dimensions
DTYPES = {"int8": np.dtype("<i1"), "int16": np.dtype("<i2"), "float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
DECODERS = {"brotli": brotli_planes.decode, "ans": ans.decode}
RERUN_HINT = "run compress again, or bring it back with: dvc checkout compress"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorGroup:
    """Tensors of one type and shape: the pattern with each number for its #, or the pattern itself without numbers."""

    pattern: str
    indices: tuple[NonNegativeInt, ...]
    shape: tuple[NonNegativeInt, ...]

    @property
    def names(self) -> list[str]:
        return [self.pattern.replace("#", str(n), 1) for n in self.indices] or [self.pattern]

    def validate(self):
        if len(self.pattern) > _MAX_PATTERN_CHARS:
            yield "pattern", f"has {len(self.pattern):,} characters, at most {_MAX_PATTERN_CHARS} are allowed"
        if len(self.shape) > _MAX_DIMENSIONS or 0 in self.shape:
            yield "shape", f"must have at most {_MAX_DIMENSIONS} dimensions, none of them 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Bytes that are packed together, by a codec of their own."""

    codec: str
    dtype: str
    packed_bytes: NonNegativeInt
    crc32: NonNegativeInt
    groups: tuple[TensorGroup, ...]

    @property
    def name(self) -> str:
        if not self.dtype.startswith("int"):
            return self.dtype
        return self.groups[0].pattern + (" int16" if self.dtype == "int16" else "")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [group.shape for group in self.groups for _ in group.names]

    def validate(self):
        if self.codec not in DECODERS:
            yield "codec", f"must be one of {', '.join(DECODERS)}, got {self.codec}"
        if self.dtype not in DTYPES:
            yield "dtype", f"must be one of {', '.join(DTYPES)}, got {self.dtype}"
        if not self.groups:
            yield "lines", "holds no tensor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a .golf file says of itself. seen: the splits that influenced it."""

    model: ModelConfig
    upstream_splits: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def raw_bytes(self) -> int:
        """Bytes of all tensors, unpacked."""
        return sum(brotli_planes.raw_bytes(DTYPES[section.dtype], section.shapes) for section in self.sections)

    def validate(self):
        groups = [group for section in self.sections for group in section.groups]
        n_tensors = sum(max(1, len(line.indices)) for line in groups)
        if n_tensors > _MAX_TENSORS:
            yield "sections", f"name {n_tensors:,} tensors, at most {_MAX_TENSORS:,} are allowed"
        elif len({name for line in groups for name in line.names}) != n_tensors:
            yield "sections", "name a tensor twice"


def read(path) -> tuple[dict[str, torch.Tensor], Header]:
    """The tensors and the header. Raises BadArtifact, naming the section, for any damage, before decoding it."""
    data = Path(path).read_bytes() if Path(path).is_file() else None
    if data is None:
        raise ArtifactError(path, "not found", RERUN_HINT)
    header, bodies = parse(path, data)
    tensors = {}
    for section, body in zip(header.sections, bodies, strict=True):
        try:
            arrays = DECODERS[section.codec](body, DTYPES[section.dtype], section.shapes)
        except brotli_planes.DecodeError as error:
            raise ArtifactError(path, f"section {section.name} does not decode: {error}", RERUN_HINT) from None
        names = [name for group in section.groups for name in group.names]
        tensors |= {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
    return tensors, header


def parse(path, data: bytes) -> tuple[Header, list[bytes]]:
    """The header and the packed sections, all lengths and checksums seen to match."""
    if len(data) < PREAMBLE.size or data[:4] != MAGIC:
        raise ArtifactError(path, "not a .golf file", RERUN_HINT)
    _, version, header_size, raw_header_size, expected_crc = PREAMBLE.unpack_from(data)
    if version != FORMAT_VERSION:
        raise ArtifactError(path, f"format version {version}, this code reads {FORMAT_VERSION}", RERUN_HINT)
    packed_header = data[PREAMBLE.size : PREAMBLE.size + header_size]
    if (
        len(packed_header) != header_size
        or raw_header_size > MAX_HEADER_BYTES
        or zlib.crc32(data[: PREAMBLE.size - 4] + packed_header) != expected_crc
    ):
        raise ArtifactError(path, "its header is damaged", RERUN_HINT)
    header = _parse_header(path, packed_header, raw_header_size)
    if header.raw_bytes > MAX_RAW_BYTES:
        raise ArtifactError(
            path, f"claims {header.raw_bytes:,} bytes of tensors, at most {MAX_RAW_BYTES:,} are allowed", RERUN_HINT
        )
    offsets = list(
        itertools.accumulate([section.packed_bytes for section in header.sections], initial=PREAMBLE.size + header_size)
    )
    if offsets[-1] != len(data):
        raise ArtifactError(path, f"{len(data):,} bytes long, its header says {offsets[-1]:,}", RERUN_HINT)
    bodies = [data[a:b] for a, b in itertools.pairwise(offsets)]
    for section, body in zip(header.sections, bodies, strict=True):
        if zlib.crc32(body) != section.crc32:
            raise ArtifactError(path, f"section {section.name} is damaged: its checksum does not match", RERUN_HINT)
    return header, bodies


def _parse_header(path, packed_header: bytes, raw_header_size: int) -> Header:
    try:
        header_fields = json.loads(brotli_planes.decompress_exact(packed_header, raw_header_size))
    except (brotli_planes.DecodeError, ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its header is not readable ({error})", RERUN_HINT) from None
    header, problems = validation.from_mapping(Header, header_fields, "header")
    if problems:
        raise ArtifactError(path, f"its header is not valid: {problems[0]}", RERUN_HINT)
    return header


def read_upstream_splits(path) -> tuple[str, ...]:
    """The splits that influenced a file, as its header says. Raises BadArtifact for damage."""
    return parse(path, Path(path).read_bytes())[0].upstream_splits


def section_bytes(path) -> dict[str, int]:
    """Bytes by section; they add up to the file's."""
    header, bodies = parse(path, Path(path).read_bytes())
    sizes = {section.name: len(body) for section, body in zip(header.sections, bodies, strict=True)}
    return {"header": Path(path).stat().st_size - sum(sizes.values()), **sizes}
