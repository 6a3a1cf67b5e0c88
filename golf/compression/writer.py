"""Write model.golf, the file that ``golf.compression.reader`` reads. Not part of what is submitted."""

import dataclasses
import json
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import brotli
import constriction
import numpy as np
import torch

from golf.compression import ans, trellis_writer
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

__all__ = [
    "BROTLI_WINDOW_BITS",
    "TRY_BOTH_BELOW_BYTES",
    "encode_ans",
    "encode_brotli",
    "encode_trellis",
    "group_tensors",
    "pack",
    "to_planes",
]

BROTLI_WINDOW_BITS = 24  # 16 MB; the default of 22 is smaller than the record's embedding
TRY_BOTH_BELOW_BYTES = 1 << 16  # a smaller section is packed by both codecs; Brotli takes a second for each megabyte


def pack(
    tensors: dict[str, torch.Tensor],
    model_cfg: ModelConfig,
    *,
    upstream_splits: Sequence[str],
    codec: str,
    brotli_quality: int,
    trellis_states: int | None = None,
) -> bytes:
    """Return the bytes of a .golf file. The order of ``tensors`` does not affect them.

    tensors: int8, int16, int32, fp16 or fp32, none empty. codec: "brotli" or "ans". Floating-point tensors always go
    through Brotli, because their low bytes are noise, and so do small integer sections where Brotli is shorter.
    trellis_states: with codec ans, the states of the trellis that all integer codes follow; None: they follow none.
    Raises BudgetExceededError for a model that the format cannot hold.
    """
    sections, bodies = [], []
    for dtype, groups in group_tensors(tensors):
        arrays = [tensors[name].detach().cpu().contiguous().numpy() for group in groups for name in group.names]
        arrays = [array.astype(DTYPES[dtype], copy=False) for array in arrays]
        codec_used, body = _pack_section(arrays, codec, brotli_quality, trellis_states)
        bodies.append(body)
        sections.append(
            Section(codec=codec_used, dtype=dtype, packed_bytes=len(body), crc32=zlib.crc32(body), groups=tuple(groups))
        )
    header = Header(model=model_cfg, upstream_splits=tuple(upstream_splits), sections=tuple(sections))
    header_json = json.dumps(dataclasses.asdict(header), separators=(",", ":")).encode()
    if header.raw_bytes > MAX_RAW_BYTES or len(header_json) > MAX_HEADER_BYTES:
        raise BudgetExceededError(
            f"model: has {header.raw_bytes:,} bytes of tensors and {len(header_json):,} of header, a .golf file holds "
            f"{MAX_RAW_BYTES:,} and {MAX_HEADER_BYTES:,}; lower model.n_layers, model.d_model or model.vocab_size"
        )
    packed_header = brotli.compress(header_json)
    preamble = PREAMBLE.pack(MAGIC, FORMAT_VERSION, len(packed_header), len(header_json), 0)[:-4]
    return b"".join([preamble, struct.pack("<I", zlib.crc32(preamble + packed_header)), packed_header, *bodies])


def _pack_section(
    arrays: list[np.ndarray], codec: str, brotli_quality: int, trellis_states: int | None
) -> tuple[str, bytes]:
    """(codec used, packed bytes)."""
    if codec == "brotli" or arrays[0].dtype.kind != "i":
        return "brotli", encode_brotli(arrays, brotli_quality)
    if trellis_states is None:
        codec, ans_bytes = "ans", encode_ans(arrays, brotli_quality)
    else:
        codec, ans_bytes = "trellis", encode_trellis(arrays, trellis_states, brotli_quality)
    if sum(array.nbytes for array in arrays) <= TRY_BOTH_BELOW_BYTES:
        brotli_bytes = encode_brotli(arrays, brotli_quality)
        if len(brotli_bytes) <= len(ans_bytes):
            return "brotli", brotli_bytes
    return codec, ans_bytes


def group_tensors(tensors: dict[str, torch.Tensor]) -> list[tuple[str, list[TensorGroup]]]:
    """Return (dtype, groups) of each section: one for each dtype and pattern of integer tensors, and each other dtype.

    Sections and groups are in alphabetical order. The first whole number between dots in a name is its index.
    """
    indices_by_key: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for name, tensor in tensors.items():
        number_match = re.search(r"(?<![^.])(?:0|[1-9][0-9]*)(?![^.])", name)
        pattern = name[: number_match.start()] + "#" + name[number_match.end() :] if number_match else name
        key = str(tensor.dtype).removeprefix("torch."), pattern, tuple(tensor.shape)
        indices_by_key.setdefault(key, []).extend([int(number_match[0])] if number_match else [])
    sections: dict[tuple[str, str], list[TensorGroup]] = {}
    for (dtype, pattern, shape), indices in sorted(indices_by_key.items()):
        group = TensorGroup(pattern=pattern, indices=tuple(sorted(indices)), shape=shape)
        sections.setdefault((dtype, pattern if dtype.startswith("int") else ""), []).append(group)
    return [(dtype, groups) for (dtype, _), groups in sections.items()]


def encode_brotli(arrays: list[np.ndarray], brotli_quality: int) -> bytes:
    """Encode arrays of one little-endian dtype, for ``brotli_planes.decode``."""
    return brotli.compress(to_planes(arrays), quality=brotli_quality, lgwin=BROTLI_WINDOW_BITS)


def to_planes(arrays: list[np.ndarray]) -> bytes:
    """Return the bytes of arrays of one little-endian dtype in the order that ``brotli_planes`` describes."""
    if arrays[0].dtype.itemsize == 1:
        return b"".join(array.tobytes(order="F") for array in arrays)
    flat = np.concatenate([array.ravel() for array in arrays])
    return flat.view(np.uint8).reshape(-1, flat.dtype.itemsize).T[::-1].tobytes()


def encode_ans(arrays: list[np.ndarray], brotli_quality: int) -> bytes:
    """Encode non-empty integer arrays, for ``ans.decode``. brotli_quality: for the side information."""
    side_info_parts: list[Any] = []
    symbol_runs: list[tuple[np.ndarray, Any]] = []

    def add_gaussian(level: int, values: np.ndarray) -> None:
        values = values.ravel().astype(np.int64)  # int32 has no absolute value of its smallest number
        radius, model = ans.gaussian_model(level)
        is_escaped = np.abs(values) > radius
        side_info_parts.append(values[is_escaped])
        symbol_runs.append((np.where(is_escaped, 0, values + radius + 1).astype(np.int32), model))

    for array in arrays:
        codes_OI = array.reshape(ans.matrix_shape(array.shape))
        matrix_fit = fit_codes(codes_OI)
        center, level = fit_center_and_level(matrix_fit.column_level_I)
        side_info_parts += trellis_writer.fit_side_info(matrix_fit)
        add_gaussian(level, matrix_fit.column_level_I - center)
        residual_OI = codes_OI - matrix_fit.templates_TI[matrix_fit.template_index_O]
        for level, block in ans.level_blocks(matrix_fit.row_level_O, matrix_fit.column_level_I):
            add_gaussian(level, residual_OI[block])
    return _join_stream(side_info_parts, symbol_runs, arrays[0].dtype, brotli_quality)


def encode_trellis(arrays: list[np.ndarray], n_states: int, brotli_quality: int) -> bytes:
    """Encode non-empty integer arrays of trellis codes, for ``trellis.decode``.

    Raises NotOnTrellisError for codes that no path of the trellis has.
    """
    return _join_stream(*trellis_writer.encode(arrays, n_states), arrays[0].dtype, brotli_quality)


def _join_stream(
    side_info_parts: list[Any], symbol_runs: list[tuple[np.ndarray, Any]], dtype: np.dtype, brotli_quality: int
) -> bytes:
    coder = constriction.stream.stack.AnsCoder()
    for symbols, model in reversed(symbol_runs):  # ANS is a stack: what the decoder reads first is pushed last
        coder.encode_reverse(symbols, model)
    side_info = np.concatenate(side_info_parts).astype(ans.side_info_dtype(dtype))
    packed_side_info = encode_brotli([side_info], brotli_quality)
    words = coder.get_compressed().astype(ans.WORD_DTYPE).tobytes()
    return ans.PREAMBLE.pack(len(side_info), len(packed_side_info)) + packed_side_info + words
