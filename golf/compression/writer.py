"""The .golf file from tensors: what ``golf.compression.reader`` reads, written. Not part of what is submitted."""

import dataclasses
import json
import re
import struct
import zlib

import brotli
import constriction
import numpy as np
import torch

from golf.compression import ans, brotli_planes
from golf.compression.ans_fit import fit_center_and_level, fit_codes
from golf.compression.reader import (
    DTYPES,
    FORMAT_VERSION,
    MAGIC,
    MAX_HEADER_BYTES,
    MAX_RAW_BYTES,
    PREAMBLE,
    Header,
    Section,
    TensorGroup,
)
from golf.config.model import ModelConfig
from golf.errors import BudgetExceededError

BROTLI_WINDOW_BITS = 24  # log2 of bytes; the default of 22 is smaller than the record's embedding
TRY_BOTH_BELOW_BYTES = (
    1 << 16
)  # bytes, up to which a section is packed both ways; Brotli takes a second for each million


def pack(
    tensors: dict[str, torch.Tensor],
    model_cfg: ModelConfig,
    *,
    upstream_splits: tuple[str, ...],
    codec: str,
    brotli_quality: int,
) -> bytes:
    """The file. tensors: int8, int16, fp16 or fp32, none empty. The same tensors give the same bytes, in any order.

    codec: entropy is for integers; floats, whose low bytes are noise, and whatever small section it makes larger go
    through Brotli.
    """
    sections, bodies = [], []
    for dtype, groups in group_tensors(tensors):
        arrays = [tensors[name].detach().cpu().contiguous().numpy() for group in groups for name in group.names]
        codec_used, body = _pack_section(
            [array.astype(DTYPES[dtype], copy=False) for array in arrays], codec, brotli_quality
        )
        bodies.append(body)
        sections.append(
            Section(codec=codec_used, dtype=dtype, packed_bytes=len(body), crc32=zlib.crc32(body), groups=tuple(groups))
        )
    header = Header(model=model_cfg, upstream_splits=tuple(upstream_splits), sections=tuple(sections))
    header_json = json.dumps(dataclasses.asdict(header), separators=(",", ":")).encode()
    if header.raw_bytes > MAX_RAW_BYTES or len(header_json) > MAX_HEADER_BYTES:
        raise BudgetExceededError(
            f"model: {header.raw_bytes:,} bytes unpacked, a .golf file holds {MAX_RAW_BYTES:,}; a smaller model fits"
        )
    packed_header = brotli.compress(header_json)
    preamble = PREAMBLE.pack(MAGIC, FORMAT_VERSION, len(packed_header), len(header_json), 0)[:-4]
    return b"".join([preamble, struct.pack("<I", zlib.crc32(preamble + packed_header)), packed_header, *bodies])


def _pack_section(arrays: list[np.ndarray], codec: str, brotli_quality: int) -> tuple[str, bytes]:
    """(codec used, bytes) of a section."""
    if codec == "brotli" or arrays[0].dtype.kind != "i":
        return "brotli", encode_brotli(arrays, brotli_quality)
    ans_bytes = encode_ans(arrays, brotli_quality)
    if sum(array.nbytes for array in arrays) <= TRY_BOTH_BELOW_BYTES and len(
        brotli_bytes := encode_brotli(arrays, brotli_quality)
    ) <= len(ans_bytes):
        return "brotli", brotli_bytes
    return "ans", ans_bytes


def group_tensors(tensors: dict[str, torch.Tensor]) -> list[tuple[str, list[TensorGroup]]]:
    """(type, lines) of each section: patterns in the order of the alphabet, a section for each pattern of integers."""
    indices_by_key = {}
    for name, tensor in tensors.items():
        number_match = re.search(r"(?<![^.])(?:0|[1-9][0-9]*)(?![^.])", name)
        pattern = name[: number_match.start()] + "#" + name[number_match.end() :] if number_match else name
        key = str(tensor.dtype).removeprefix("torch."), pattern, tuple(tensor.shape)
        indices_by_key.setdefault(key, []).extend([int(number_match[0])] if number_match else [])
    sections = {}
    for (dtype, pattern, shape), indices in sorted(indices_by_key.items()):
        group = TensorGroup(pattern=pattern, indices=tuple(sorted(indices)), shape=shape)
        sections.setdefault((dtype, pattern if dtype.startswith("int") else ""), []).append(group)
    return [(dtype, groups) for (dtype, _), groups in sections.items()]


def encode_brotli(arrays: list[np.ndarray], brotli_quality: int) -> bytes:
    """What ``planes.decode`` reads."""
    return brotli.compress(brotli_planes.to_planes(arrays), quality=brotli_quality, lgwin=BROTLI_WINDOW_BITS)


def encode_ans(arrays: list[np.ndarray], brotli_quality: int) -> bytes:
    """What ``entropy.decode`` reads: integers, none empty. quality: Brotli's, for rows and templates."""
    side_info_parts, symbol_runs = [], []

    def add_gaussian(level: int, values: np.ndarray) -> None:
        radius, model = ans.gaussian_model(level)
        is_escaped = np.abs(values) > radius
        side_info_parts.append(values[is_escaped])
        symbol_runs.append((np.where(is_escaped, 0, values + radius + 1).astype(np.int32), model))

    for array in arrays:
        codes_OI = array.reshape(ans.matrix_shape(array.shape))
        matrix_fit = fit_codes(codes_OI)
        center, level = fit_center_and_level(matrix_fit.column_level_I)
        side_info_parts += [
            [len(matrix_fit.templates_TI), center, level],
            matrix_fit.templates_TI.ravel(),
            matrix_fit.template_index_O,
            matrix_fit.row_level_O,
        ]
        add_gaussian(level, matrix_fit.column_level_I - center)
        residual_OI = codes_OI - matrix_fit.templates_TI[matrix_fit.template_index_O]
        for level, block in ans.level_blocks(matrix_fit.row_level_O, matrix_fit.column_level_I):
            add_gaussian(level, residual_OI[block].ravel().astype(np.int32))
    coder = constriction.stream.stack.AnsCoder()
    for symbols, model in reversed(symbol_runs):
        coder.encode_reverse(symbols, model)
    side_info = np.concatenate(side_info_parts).astype(ans.SIDE_INFO_DTYPE)
    packed_side_info = encode_brotli([side_info], brotli_quality)
    words = coder.get_compressed().astype(ans.WORD_DTYPE).tobytes()
    return ans.PREAMBLE.pack(len(side_info), len(packed_side_info)) + packed_side_info + words
