"""Read model.golf: one file of named tensors. Every byte is checked before it is decoded, and none is run as code.

    "GOLF"  version  packed size  raw size  CRC-32 │ packed header │ section 0 │ section 1 │ …
       4       1          4           4        4     bytes, integers little-endian

The header is JSON under Brotli: the model's config, the splits that influenced the weights, and the sections. A section
names its codec, dtype, packed size, CRC-32 and tensors, which are stored in the order of the table. Tensors whose names
differ only in a number, such as ``blocks.#.mlp.fc.weight.codes``, form one group. Integer tensors of one pattern share
a section, and so do all floating-point tensors of one dtype.

The first CRC-32 covers the 13 bytes before it and the packed header. A CRC-32 detects every change confined to 32
consecutive bits, and misses any other with probability 2^-32.
"""

import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golf.compression import brotli_planes
from golf.config import validation
from golf.config.model import ModelConfig
from golf.config.validation import NonNegativeInt
from golf.errors import ArtifactError

__all__ = [
    "CODECS",
    "DTYPES",
    "EXTRA_PREFIX",
    "FORMAT_VERSION",
    "MAGIC",
    "MAX_HEADER_BYTES",
    "MAX_RAW_BYTES",
    "PREAMBLE",
    "Header",
    "Section",
    "TensorGroup",
    "load_decoder",
    "parse",
    "read",
    "read_packed",
]

MAGIC = b"GOLF"
FORMAT_VERSION = 2  # 2: the header and the tensors have ModelConfig's and QuantizedTensor's present names
PREAMBLE = struct.Struct("<4sBIII")
MAX_HEADER_BYTES = 1 << 20  # unpacked
MAX_RAW_BYTES = 1 << 30  # of all tensors, unpacked; a header that claims more is damaged
_MAX_TENSORS, _MAX_PATTERN_CHARS, _MAX_DIMENSIONS = 1 << 14, 256, 4
DTYPES: dict[str, np.dtype] = {
    "int8": np.dtype("<i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}
CODECS = ("brotli", "ans", "trellis")
EXTRA_PREFIX = "extra."  # of tensors that are no part of the model's state: golf.compression.stored_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorGroup:
    """Tensors of one dtype and shape. Their names: ``pattern`` with each index for its #, or itself without indices."""

    pattern: str
    indices: tuple[NonNegativeInt, ...]
    shape: tuple[NonNegativeInt, ...]

    @property
    def names(self) -> list[str]:
        return [self.pattern.replace("#", str(n), 1) for n in self.indices] or [self.pattern]

    def validate(self) -> Iterator[tuple[str, str]]:
        if len(self.pattern) > _MAX_PATTERN_CHARS:
            yield "pattern", f"has {len(self.pattern):,} characters, at most {_MAX_PATTERN_CHARS} are allowed"
        if len(self.shape) > _MAX_DIMENSIONS or 0 in self.shape:
            yield "shape", f"must have at most {_MAX_DIMENSIONS} dimensions, none of them 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Tensors of one dtype that one codec packs together."""

    codec: str
    dtype: str
    packed_bytes: NonNegativeInt
    crc32: NonNegativeInt
    groups: tuple[TensorGroup, ...]

    @property
    def name(self) -> str:
        if not self.dtype.startswith("int"):
            return self.dtype
        return self.groups[0].pattern + ("" if self.dtype == "int8" else f" {self.dtype}")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [group.shape for group in self.groups for _ in group.names]

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.codec not in CODECS:
            yield "codec", f"must be one of {', '.join(CODECS)}, got {self.codec}"
        if self.dtype not in DTYPES:
            yield "dtype", f"must be one of {', '.join(DTYPES)}, got {self.dtype}"
        if not self.groups:
            yield "groups", "must name at least one tensor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """upstream_splits: the data splits that influenced the weights."""

    model: ModelConfig
    upstream_splits: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def raw_bytes(self) -> int:
        """Bytes of all tensors, unpacked."""
        return sum(brotli_planes.raw_bytes(DTYPES[section.dtype], section.shapes) for section in self.sections)

    def validate(self) -> Iterator[tuple[str, str]]:
        groups = [group for section in self.sections for group in section.groups]
        n_tensors = sum(max(1, len(group.indices)) for group in groups)
        if n_tensors > _MAX_TENSORS:
            yield "sections", f"name {n_tensors:,} tensors, at most {_MAX_TENSORS:,} are allowed"
        elif len({name for group in groups for name in group.names}) != n_tensors:
            yield "sections", "name a tensor twice"


def read(path: str | Path) -> tuple[dict[str, torch.Tensor], Header]:
    """Return the tensors by name, and the header.

    Raises ArtifactError, which names the section where one is damaged.
    """
    header, bodies = read_packed(path)
    tensors: dict[str, torch.Tensor] = {}
    for section, body in zip(header.sections, bodies, strict=True):
        try:
            arrays = load_decoder(section.codec)(body, DTYPES[section.dtype], section.shapes)
        except brotli_planes.DecodeError as error:
            raise ArtifactError(path, f"section {section.name} does not decode: {error}") from None
        names = [name for group in section.groups for name in group.names]
        tensors |= {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
    return tensors, header


def load_decoder(codec: str) -> Callable[[bytes, np.dtype, list[tuple[int, ...]]], list[np.ndarray]]:
    """Return what decodes a section of ``codec``: (packed, dtype, shapes) -> arrays."""
    if codec == "ans":
        from golf.compression import ans

        return ans.decode
    if codec == "trellis":
        from golf.compression import trellis

        return trellis.decode
    return brotli_planes.decode


def read_packed(path: str | Path) -> tuple[Header, list[bytes]]:
    """Return the header and the packed sections of a file. Raises ArtifactError when it is missing or damaged."""
    if not Path(path).is_file():
        raise ArtifactError(path, "not found")
    return parse(path, Path(path).read_bytes())


def parse(path: str | Path, data: bytes) -> tuple[Header, list[bytes]]:
    """Return the header and the packed sections, after all lengths and checksums are verified.

    ``path`` is named in errors. Raises ArtifactError.
    """
    if len(data) < PREAMBLE.size or data[:4] != MAGIC:
        raise ArtifactError(path, "not a .golf file")
    _, version, header_size, raw_header_size, expected_crc = PREAMBLE.unpack_from(data)
    if version != FORMAT_VERSION:
        problem = f"has format version {version}, this version of golf reads {FORMAT_VERSION} only"
        raise ArtifactError(path, problem, "run quantize and compress again")
    sections_start = PREAMBLE.size + header_size
    packed_header = data[PREAMBLE.size : sections_start]
    if (
        len(packed_header) != header_size
        or raw_header_size > MAX_HEADER_BYTES
        or zlib.crc32(data[: PREAMBLE.size - 4] + packed_header) != expected_crc
    ):
        raise ArtifactError(path, "its header is damaged")
    header = _parse_header(path, packed_header, raw_header_size)
    if header.raw_bytes > MAX_RAW_BYTES:
        problem = f"claims {header.raw_bytes:,} bytes of tensors, at most {MAX_RAW_BYTES:,} are allowed"
        raise ArtifactError(path, problem)
    sizes = [section.packed_bytes for section in header.sections]
    offsets = list(itertools.accumulate(sizes, initial=sections_start))
    if offsets[-1] != len(data):
        raise ArtifactError(path, f"has {len(data):,} bytes, its header says {offsets[-1]:,}")
    bodies = [data[start:end] for start, end in itertools.pairwise(offsets)]
    for section, body in zip(header.sections, bodies, strict=True):
        if zlib.crc32(body) != section.crc32:
            raise ArtifactError(path, f"section {section.name} is damaged: its checksum does not match")
    return header, bodies


def _parse_header(path: str | Path, packed_header: bytes, raw_header_size: int) -> Header:
    try:
        mapping = json.loads(brotli_planes.decompress_exact(packed_header, raw_header_size))
    except (brotli_planes.DecodeError, ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its header cannot be read ({error})") from None
    header, problems = validation.from_mapping(Header, mapping, "header")
    if header is None or problems:
        raise ArtifactError(path, f"its header is not valid: {problems[0]}")
    return header
