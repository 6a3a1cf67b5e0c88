"""The quantizers that users of this field have at hand, each on a dict of weight matrices.

Each function returns a ``Quantized``: the weights a model then computes with, the bytes of the quantizer's own
container, and integer codes with their side information for our coder where it has codes. Sizes of own containers count
what a decoder needs: packed codes, scales and zero points in fp16, or the library's stream.
"""

# O output features, I input features, G groups of a row, J = I / G

import ctypes
import sys
import tempfile
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zstandard

from golf.quantization.gptq import HessianFactor

__all__ = [
    "GGML_K_BLOCK_BYTES",
    "NF4_LEVELS",
    "Quantized",
    "quantize_ggml",
    "quantize_ggml_k",
    "quantize_gptq",
    "quantize_hqq",
    "quantize_int_zstd",
    "quantize_nf4",
    "quantize_nncodec",
]

# QLoRA (arXiv:2305.14314), appendix E
NF4_LEVELS = (
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
)  # fmt: skip
_ZSTD_LEVEL = 22
_GGML_K_BLOCK = 256  # weights
GGML_K_BLOCK_BYTES = {"Q6_K": 210, "Q5_K": 176, "Q4_K": 144, "Q3_K": 110, "Q2_K": 84}  # ggml-common.h


@dataclass(frozen=True)
class Quantized:
    """weights: fp32 [O, I] by name. own_bytes: of the quantizer's own container.

    stored: tensors for our coder, which hold the same information; None where the quantizer has no integer codes.
    """

    weights: dict[str, torch.Tensor]
    own_bytes: int
    stored: dict[str, torch.Tensor] | None


def quantize_int_zstd(weights: dict[str, torch.Tensor], bits: int) -> Quantized:
    """Round to nearest with the largest weight of a row as the largest code, packed by zstd 22."""
    result, stored, planes = {}, {}, []
    for name, w_OI in weights.items():
        scale_O1 = (w_OI.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp_min(1e-8).half().float()
        codes = (w_OI / scale_O1).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8)
        result[name] = codes.float() * scale_O1
        stored |= {f"{name}.codes": codes, f"{name}.row_scales": scale_O1[:, 0].half()}
        planes += [codes.numpy().tobytes(), scale_O1.half().numpy().tobytes()]
    packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(b"".join(planes))
    return Quantized(result, len(packed), stored)


def quantize_gptq(
    weights: dict[str, torch.Tensor], factors: dict[str, HessianFactor], bits: int, group_size: int
) -> Quantized:
    """GPTQ with a scale and a zero point for each group of a row, from its extremes, columns by falling importance.

    factors: of each matrix, [1, I, I]. That is the libraries' option of static groups.
    """
    result, stored, own_bits, max_code = {}, {}, 0, 2**bits - 1
    for name, w_OI in weights.items():
        grouped = _pad_columns(w_OI, group_size)
        low, high = grouped.amin(-1).clamp_max(0), grouped.amax(-1).clamp_min(0)
        scale_OG = ((high - low) / max_code).clamp_min(1e-8).half().float()
        zero_OG = (-low / scale_OG).round().clamp(0, max_code)
        group_I = torch.arange(w_OI.shape[1]) // group_size
        scale_OI, zero_OI = scale_OG[:, group_I], zero_OG[:, group_I]
        codes = _round_by_gptq(w_OI, factors[name], scale_OI, zero_OI, max_code)
        result[name] = (codes - zero_OI) * scale_OI
        own_bits += codes.numel() * bits + scale_OG.numel() * (16 + bits)
        stored |= {f"{name}.codes": (codes - zero_OI).to(torch.int8), f"{name}.group_scales": scale_OG.half()}
    return Quantized(result, -(-own_bits // 8), stored)


def _round_by_gptq(
    w_OI: torch.Tensor, factor: HessianFactor, scale_OI: torch.Tensor, zero_OI: torch.Tensor, max_code: int
) -> torch.Tensor:
    order, coupling_II = factor.order[0], factor.coupling[0]
    codes_OI, error_OI = torch.zeros_like(w_OI), torch.zeros_like(w_OI)  # errors in the order of rounding
    for step, j in enumerate(order.tolist()):
        target_O = w_OI[:, j] + error_OI[:, :step] @ coupling_II[:step, step]
        codes_OI[:, j] = (target_O / scale_OI[:, j] + zero_OI[:, j]).round().clamp(0, max_code)
        error_OI[:, step] = w_OI[:, j] - (codes_OI[:, j] - zero_OI[:, j]) * scale_OI[:, j]
    return codes_OI


def quantize_nf4(weights: dict[str, torch.Tensor], block_size: int) -> Quantized:
    """The 16 levels of a normal distribution, scaled by the largest weight of each block of a row, in fp16."""
    levels, result, stored, own_bits = torch.tensor(NF4_LEVELS), {}, {}, 0
    for name, w_OI in weights.items():
        grouped = _pad_columns(w_OI, block_size)
        scale_OG1 = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-8).half().float()
        codes = (grouped / scale_OG1)[..., None].sub(levels).abs().argmin(-1)
        result[name] = (levels[codes] * scale_OG1).flatten(1)[:, : w_OI.shape[1]].contiguous()
        own_bits += w_OI.numel() * 4 + scale_OG1.numel() * 16
        codes_OI = (codes.flatten(1)[:, : w_OI.shape[1]] - 7).to(torch.int8).contiguous()  # level 7 is zero
        stored |= {f"{name}.codes": codes_OI, f"{name}.group_scales": scale_OG1[..., 0].half()}
    return Quantized(result, -(-own_bits // 8), stored)


def quantize_hqq(weights: dict[str, torch.Tensor], bits: int, group_size: int) -> Quantized:
    """HQQ's own optimizer of zero points (hqq, its defaults), groups along the input features."""
    from hqq.core.bitpack import BitPack
    from hqq.core.quantize import Quantizer

    result, stored, own_bits = {}, {}, 0
    for name, w_OI in weights.items():
        options = {"nbits": bits, "group_size": group_size, "axis": 1, "device": "cpu", "compute_dtype": torch.float32}
        packed, meta = Quantizer.quantize(w_OI.clone(), **options)
        result[name] = Quantizer.dequantize(packed, meta).float().reshape(w_OI.shape)
        unpack = getattr(BitPack, f"unpack_{meta['packing']}")
        codes = unpack(packed)[: w_OI.numel() // group_size].reshape(w_OI.shape)
        n_groups = meta["scale"].numel()
        own_bits += w_OI.numel() * bits + n_groups * 32
        stored |= {
            f"{name}.codes": (codes.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8),
            f"{name}.group_scales": meta["scale"].reshape(len(w_OI), -1).half(),
            f"{name}.group_zeros": meta["zero"].reshape(len(w_OI), -1).half(),
        }
    return Quantized(result, -(-own_bits // 8), stored)


def quantize_ggml(weights: dict[str, torch.Tensor], type_name: str) -> Quantized:
    """ggml's block formats by the project's own Python package, whose rows must be multiples of a block."""
    from gguf import GGMLQuantizationType, quants

    ggml_type, result, own_bytes = GGMLQuantizationType[type_name], {}, 0
    for name, w_OI in weights.items():
        packed = quants.quantize(w_OI.numpy(), ggml_type)
        result[name] = torch.from_numpy(quants.dequantize(packed, ggml_type).astype(np.float32))
        own_bytes += packed.nbytes
    return Quantized(result, own_bytes, None)


def quantize_ggml_k(
    weights: dict[str, torch.Tensor],
    type_name: str,
    library_path: Path,
    importance: Mapping[str, torch.Tensor] | None = None,
) -> Quantized:
    """ggml's K formats by ggml's own C functions. A matrix is one row of I · O weights, a multiple of 256.

    ggml's kernels need rows of multiples of 256. In one long row, super-blocks of 256 run on from row to row; their
    blocks of 16 or 32, which have a scale of their own, end where a row ends if that divides I.

    type_name: of GGML_K_BLOCK_BYTES. library_path: a shared library that exports quantize_q4_K and the like
    (``quantizers.py``). importance: by name the mean square of each input feature [I], llama.cpp's importance matrix;
    None for the quantizer without one. Raises OSError for a library that cannot be loaded, ValueError for a matrix of
    another size.
    """
    for name, w_OI in weights.items():
        if w_OI.numel() % _GGML_K_BLOCK:
            raise ValueError(f"{name}: has {w_OI.numel():,} weights, K formats need a multiple of {_GGML_K_BLOCK}")
    library, suffix = ctypes.CDLL(str(library_path)), type_name.lower().replace("_k", "_K")
    quantize, dequantize = library[f"quantize_{suffix}"], library[f"dequantize_row_{suffix}"]
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    quantize.restype, quantize.argtypes = ctypes.c_size_t, [pointer, pointer, size, size, pointer]
    dequantize.restype, dequantize.argtypes = None, [pointer, pointer, size]
    result, own_bytes = {}, 0
    for name, w_OI in weights.items():
        w, back = np.ascontiguousarray(w_OI.numpy(), np.float32), np.empty(tuple(w_OI.shape), np.float32)
        packed = np.empty(w.size // _GGML_K_BLOCK * GGML_K_BLOCK_BYTES[type_name], np.uint8)
        weight = None if importance is None else np.tile(importance[name].float().numpy(), len(w))
        address = None if weight is None else weight.ctypes.data
        if quantize(w.ctypes.data, packed.ctypes.data, 1, w.size, address) != packed.nbytes:
            raise ValueError(f"{library_path}: packs {type_name} into another number of bytes than {packed.nbytes:,}")
        dequantize(packed.ctypes.data, back.ctypes.data, w.size)
        result[name], own_bytes = torch.from_numpy(back), own_bytes + packed.nbytes
    return Quantized(result, own_bytes, None)


def quantize_nncodec(weights: dict[str, torch.Tensor], qp: int, *, dependent: bool) -> Quantized:
    """The Neural Network Coding standard (ISO/IEC 15938-17) by Fraunhofer's nncodec, decoded from its own stream.

    dependent: its trellis of eight states. qp: the quantization parameter; the step doubles every four.
    """
    framework = types.ModuleType("nncodec.framework")  # what it imports there are image data sets and their packages
    framework.tensorflow_model = framework.pytorch_model = framework.use_case_init = None
    sys.modules.setdefault("nncodec.framework", framework)
    from nncodec import nnc

    arrays = {name: np.ascontiguousarray(w_OI.numpy()) for name, w_OI in weights.items()}
    with tempfile.TemporaryDirectory() as folder:  # it writes its stream to a file too
        path = f"{folder}/stream.nnc"
        stream = nnc.compress(arrays, bitstream_path=path, qp=qp, use_dq=dependent, return_bitstream=True)
    decoded = nnc.decompress(stream)
    return Quantized({name: torch.from_numpy(decoded[name]) for name in weights}, len(stream), None)


def _pad_columns(w_OI: torch.Tensor, group_size: int) -> torch.Tensor:
    """[O, G, J]; the last group is filled up with zeros."""
    padded = torch.nn.functional.pad(w_OI, (0, -w_OI.shape[1] % group_size))
    return padded.view(len(w_OI), -1, group_size)
