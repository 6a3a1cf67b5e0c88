"""Compare coders of quantized weights: Brotli 11, LZMA, zstd 22 and ours, by bytes, seconds and ideal lengths.

``python benchmarks/codec.py --help``. Every coder gets the same sections: the codes of one pattern of tensors, column
by column for the general-purpose coders. The ideal lengths of three models, without the cost of tables and contexts:

order 0    each tensor under its own histogram
levels     each level under its own histogram: an upper bound of what stored tables could save over Gaussians
neighbors  each level, split by the size of the codes above and to the left, under its own histogram, plus log2(n) / 2
           bits for each of its symbols, about the cost of learning it adaptively
"""

import argparse
import lzma
import time
from collections import defaultdict

import brotli
import numpy as np
import torch
import zstandard

from golf.artifacts import io
from golf.compression import ans, trellis, writer
from golf.compression.ans_fit import fit_codes
from golf.quantization import codes_io

RECORD_SHAPES = {  # of the record model's 35.9 M weights: layers, rows, columns, standard deviation of the codes
    "attn.c_q": (11, 512, 512, 2.41),
    "attn.c_k": (11, 256, 512, 2.41),
    "attn.c_v": (11, 256, 512, 2.41),
    "attn.proj": (11, 512, 512, 2.41),
    "mlp.fc": (11, 2048, 512, 2.41),
    "mlp.proj": (11, 512, 2048, 2.41),
    "tok_emb": (1, 8192, 512, 6.35),
}
GENERAL_CODECS = {
    "brotli": (lambda raw: brotli.compress(raw, quality=11, lgwin=writer.BROTLI_WINDOW_BITS), brotli.decompress),
    "lzma": (lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
    "zstd": (lambda raw: zstandard.compress(raw, 22), zstandard.decompress),
}
CODECS = (*GENERAL_CODECS, "ours")
ENTROPY_MODELS = ("order 0", "levels", "neighbors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codes", nargs="*", default=["artifacts/quantize/codes.safetensors"], help="files of codes")
    parser.add_argument("--record", action="store_true", help="also Gaussian codes of the record model's shapes")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    files = {path: load_sections(path) for path in args.codes}
    if args.record:
        files["Gaussians of the record model's shapes"] = sample_record_codes(), None
    tables = {
        file: [compare(name, arrays, trellis_states) for name, arrays in sections.items()]
        for file, (sections, trellis_states) in files.items()
    }
    for file, rows in tables.items():
        print_table(file, rows)
    if args.json:
        io.write_json(args.json, {"threads": torch.get_num_threads(), "files": tables})


def load_sections(path) -> tuple[dict[str, list[np.ndarray]], int | None]:
    """The sections as ``writer.pack`` makes them, and the states of the trellis that their codes follow."""
    stored, _, trellis_states = codes_io.load(path)
    sections = {
        f"{groups[0].pattern} {dtype}" if dtype.startswith("int") else dtype: [
            stored[name].numpy() for group in groups for name in group.names
        ]
        for dtype, groups in writer.group_tensors(stored)
    }
    return sections, trellis_states


def sample_record_codes() -> dict[str, list[np.ndarray]]:
    """Equal rows, and columns whose standard deviations differ by about 15 %, as SDClip produces them."""
    rng, sections = np.random.default_rng(0), {}
    for name, (n_layers, rows, columns, spread) in RECORD_SHAPES.items():
        sections[name] = []
        for _ in range(n_layers):
            column_I = np.exp(rng.normal(0, 0.15, columns)).astype(np.float32)
            codes_OI = rng.standard_normal((rows, columns), np.float32) * (spread * column_I)
            sections[name].append(np.rint(codes_OI).clip(-127, 127).astype(np.int8))
    return sections


def compare(name: str, arrays: list[np.ndarray], trellis_states: int | None) -> dict:
    """Bytes, encoding and decoding seconds of each coder; bytes of each entropy model."""
    row = {"section": name, "values": sum(array.size for array in arrays)}
    raw = writer.to_planes(arrays)
    for codec, (encode, decode) in GENERAL_CODECS.items():
        packed, encode_s = time_call(encode, raw)
        decoded, decode_s = time_call(decode, packed)
        row[codec] = {"bytes": len(packed), "encode_s": encode_s, "decode_s": decode_s}
        require_equal(decoded == raw, codec, name)
    if arrays[0].dtype.kind != "i":
        row["ours"] = row["brotli"]  # as the writer does
        return row | {
            "high byte, order 0": round(order_0_bytes(writer.to_planes(arrays)[: len(raw) // 2])) + len(raw) // 2
        }
    if trellis_states is None:
        (packed, encode_s), decode = time_call(writer.encode_ans, arrays, 11), ans.decode
    else:
        (packed, encode_s), decode = time_call(writer.encode_trellis, arrays, trellis_states, 11), trellis.decode
    decoded, decode_s = time_call(decode, packed, arrays[0].dtype, [array.shape for array in arrays])
    row["ours"] = {"bytes": len(packed), "encode_s": encode_s, "decode_s": decode_s}
    require_equal(all(np.array_equal(x, y) for x, y in zip(arrays, decoded, strict=True)), "ours", name)
    return row | {model: round(size) for model, size in ideal_bytes(arrays).items()}


def time_call(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def require_equal(is_equal: bool, codec: str, section: str) -> None:
    if not is_equal:
        raise SystemExit(f"{codec}: {section} is not decoded to its input")


def ideal_bytes(arrays: list[np.ndarray]) -> dict[str, float]:
    """Bytes under each entropy model, without the cost of tables, contexts and levels."""
    by_level, by_neighbor = defaultdict(list), defaultdict(list)
    for array in arrays:
        codes_OI = array.reshape(ans.matrix_shape(array.shape))
        model_fit = fit_codes(codes_OI)
        residual_OI = (codes_OI - model_fit.templates_TI[model_fit.template_index_O]).astype(np.int32)
        neighbor_size_OI = neighbor_sizes(residual_OI)
        for level, block in ans.level_blocks(model_fit.row_level_O, model_fit.column_level_I):
            residual, neighbor_size = (
                residual_OI[block].ravel(),
                (neighbor_size_OI[block] / 1.25 ** (level / 2)).astype(int).ravel(),
            )
            by_level[level].append(residual)
            for size in np.unique(neighbor_size):
                by_neighbor[level, size].append(residual[neighbor_size == size])
    return {
        "order 0": sum(map(order_0_bytes, arrays)),
        "levels": sum(order_0_bytes(np.concatenate(parts)) for parts in by_level.values()),
        "neighbors": sum(adaptive_order_0_bytes(np.concatenate(parts)) for parts in by_neighbor.values()),
    }


def neighbor_sizes(residual_OI: np.ndarray) -> np.ndarray:
    """The summed sizes of the two neighbors that a decoder knows: above and to the left."""
    size_OI = np.pad(np.abs(residual_OI), ((1, 0), (1, 0)))
    return (size_OI[:-1, 1:] + size_OI[1:, :-1]) * 4


def order_0_bytes(values) -> float:
    """Bytes under the values' own histogram."""
    n = np.unique(np.frombuffer(values, np.uint8) if isinstance(values, bytes) else values, return_counts=True)[1]
    return float(-(n * np.log2(n / n.sum())).sum()) / 8


def adaptive_order_0_bytes(values: np.ndarray) -> float:
    """The same plus the cost of learning the histogram."""
    return order_0_bytes(values) + len(np.unique(values)) * np.log2(len(values)) / 16


def print_table(file: str, rows: list[dict]) -> None:
    print(f"{file}, {torch.get_num_threads()} threads; bytes and % of Brotli")
    columns = (*CODECS, *ENTROPY_MODELS)
    print(f"{'section':<32}{'values':>11}" + "".join(f"{name:>20}" for name in columns))
    total = {"section": "total", "values": sum(row["values"] for row in rows)}
    for name in CODECS:
        total[name] = {key: sum(row[name][key] for row in rows) for key in ("bytes", "encode_s", "decode_s")}
    for name in ENTROPY_MODELS:
        total[name] = sum(row.get(name, row["brotli"]["bytes"]) for row in rows)
    for row in [*rows, total]:
        cells = [row[name]["bytes"] if name in CODECS else row.get(name) for name in columns]
        formatted = [
            f"{cell:>12,}{100 * cell / row['brotli']['bytes']:>8.2f}" if cell else f"{'–':>20}" for cell in cells
        ]
        print(f"{row['section'].replace('.codes', ''):<32}{row['values']:>11,}" + "".join(formatted))
    for key in ("encode_s", "decode_s"):
        print(f"{key:<43}" + "".join(f"{total[name][key]:>20.3f}" for name in CODECS))
    ratio = total["brotli"]["encode_s"] / total["ours"]["encode_s"]
    print(f"ours encodes {ratio:.0f} times faster than Brotli\n")


if __name__ == "__main__":
    main()
