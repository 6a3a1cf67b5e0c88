"""Codes under Brotli 11, LZMA, zstd 22 and ours: bytes, seconds, ideal lengths. ``python benchmarks/codec.py --help``

Every coder gets the same sections: the codes of one pattern of tensors, column by column for the general-purpose ones.
Beside them, what models would take, tables and contexts for free:

order 0     each tensor under its own histogram
levels      each level under its own histogram: what stored tables in place of Gaussians could save at most
neighbours  each level, and how large the codes above and to the left are, under its own histogram, and half of log2(n)
            bits for each of its symbols, about what an adaptive coder pays to learn it
"""

import argparse
import lzma
import time
from collections import defaultdict

import brotli
import numpy as np
import torch
import zstandard

from golf.codec import entropy, packing, planes
from golf.codec.fit import fit
from golf.ground import store
from golf.quant import codes

RECORD = {  # patterns of the record's 35.9 M weights: layers, rows, columns, standard deviation of the codes
    "attn.c_q": (11, 512, 512, 2.41),
    "attn.c_k": (11, 256, 512, 2.41),
    "attn.c_v": (11, 256, 512, 2.41),
    "attn.proj": (11, 512, 512, 2.41),
    "mlp.fc": (11, 2048, 512, 2.41),
    "mlp.proj": (11, 512, 2048, 2.41),
    "tok_emb": (1, 8192, 512, 6.35),
}
GENERAL = {
    "brotli": (lambda raw: brotli.compress(raw, quality=11, lgwin=packing.BROTLI_WINDOW), brotli.decompress),
    "lzma": (lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
    "zstd": (lambda raw: zstandard.compress(raw, 22), zstandard.decompress),
}
CODERS = (*GENERAL, "ours")
MODELS = ("order 0", "levels", "neighbours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codes", nargs="*", default=["artifacts/quantize/codes.safetensors"], help="files of codes")
    parser.add_argument("--record", action="store_true", help="and Gaussians of the record's shapes")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    files = {path: read(path) for path in asked.codes}
    if asked.record:
        files["Gaussians of the record's shapes"] = synthetic()
    tables = {file: [compare(name, arrays) for name, arrays in sections.items()] for file, sections in files.items()}
    for file, rows in tables.items():
        show(file, rows)
    if asked.json:
        store.write_json(asked.json, {"threads": torch.get_num_threads(), "files": tables})


def read(path) -> dict[str, list[np.ndarray]]:
    """Sections as packing makes them."""
    stored, _ = codes.load(path)
    return {
        f"{lines[0].pattern} {dtype}" if dtype.startswith("int") else dtype: [
            stored[name].numpy() for line in lines for name in line.names
        ]
        for dtype, lines in packing.grouped(stored)
    }


def synthetic() -> dict[str, list[np.ndarray]]:
    """Rows alike and columns of spreads that differ by about 15 %, as SDClip leaves them."""
    dice, found = np.random.default_rng(0), {}
    for name, (layers, rows, columns, spread) in RECORD.items():
        found[name] = []
        for _ in range(layers):
            column_I = np.exp(dice.normal(0, 0.15, columns)).astype(np.float32)
            codes_OI = dice.standard_normal((rows, columns), np.float32) * (spread * column_I)
            found[name].append(np.rint(codes_OI).clip(-127, 127).astype(np.int8))
    return found


def compare(name: str, arrays: list[np.ndarray]) -> dict:
    """Bytes, seconds to encode and seconds to decode of each coder; bytes of each model."""
    row = {"section": name, "values": sum(array.size for array in arrays)}
    raw = planes.planes(arrays)
    for coder, (encode, decode) in GENERAL.items():
        packed, encoding = timed(encode, raw)
        back, decoding = timed(decode, packed)
        row[coder] = {"bytes": len(packed), "encode_s": encoding, "decode_s": decoding}
        same(back == raw, coder, name)
    if arrays[0].dtype.kind != "i":
        row["ours"] = row["brotli"]  # as packing does
        return row | {"high byte, order 0": round(order_0(planes.planes(arrays)[: len(raw) // 2])) + len(raw) // 2}
    packed, encoding = timed(packing.by_entropy, arrays, 11)
    back, decoding = timed(entropy.decode, packed, arrays[0].dtype, [array.shape for array in arrays])
    row["ours"] = {"bytes": len(packed), "encode_s": encoding, "decode_s": decoding}
    same(all(np.array_equal(x, y) for x, y in zip(arrays, back, strict=True)), "ours", name)
    return row | {model: round(size) for model, size in ideal(arrays).items()}


def timed(call, *given):
    start = time.perf_counter()
    found = call(*given)
    return found, time.perf_counter() - start


def same(equal: bool, coder: str, section: str) -> None:
    if not equal:
        raise SystemExit(f"{coder}: {section} does not come back")


def ideal(arrays: list[np.ndarray]) -> dict[str, float]:
    """Bytes under each model, without tables, contexts and levels."""
    levels, neighbours = defaultdict(list), defaultdict(list)
    for array in arrays:
        codes_OI = array.reshape(entropy.matrix(array.shape))
        found = fit(codes_OI)
        residual_OI = (codes_OI - found.templates_TI[found.choice_O]).astype(np.int32)
        around_OI = context(residual_OI)
        for level, block in entropy.blocks(found.row_O, found.column_I):
            residual, around = residual_OI[block].ravel(), (around_OI[block] / 1.25 ** (level / 2)).astype(int).ravel()
            levels[level].append(residual)
            for size in np.unique(around):
                neighbours[level, size].append(residual[around == size])
    return {
        "order 0": sum(map(order_0, arrays)),
        "levels": sum(order_0(np.concatenate(parts)) for parts in levels.values()),
        "neighbours": sum(learned(np.concatenate(parts)) for parts in neighbours.values()),
    }


def context(residual_OI: np.ndarray) -> np.ndarray:
    """Sizes of the two neighbours that a decoder knows, the one above and the one to the left, added up."""
    size_OI = np.pad(np.abs(residual_OI), ((1, 0), (1, 0)))
    return (size_OI[:-1, 1:] + size_OI[1:, :-1]) * 4


def order_0(values) -> float:
    """Bytes under the values' own histogram."""
    n = np.unique(np.frombuffer(values, np.uint8) if isinstance(values, bytes) else values, return_counts=True)[1]
    return float(-(n * np.log2(n / n.sum())).sum()) / 8


def learned(values: np.ndarray) -> float:
    """The same, and what learning the histogram costs."""
    return order_0(values) + len(np.unique(values)) * np.log2(len(values)) / 16


def show(file: str, rows: list[dict]) -> None:
    print(f"{file}, {torch.get_num_threads()} threads; bytes, and % of Brotli's")
    columns = (*CODERS, *MODELS)
    print(f"{'section':<32}{'values':>11}" + "".join(f"{name:>20}" for name in columns))
    total = {"section": "total", "values": sum(row["values"] for row in rows)}
    for name in CODERS:
        total[name] = {key: sum(row[name][key] for row in rows) for key in ("bytes", "encode_s", "decode_s")}
    for name in MODELS:
        total[name] = sum(row.get(name, row["brotli"]["bytes"]) for row in rows)
    for row in [*rows, total]:
        cells = [row[name]["bytes"] if name in CODERS else row.get(name) for name in columns]
        shares = [f"{cell:>12,}{100 * cell / row['brotli']['bytes']:>8.2f}" if cell else f"{'–':>20}" for cell in cells]
        print(f"{row['section'].replace('.codes', ''):<32}{row['values']:>11,}" + "".join(shares))
    for key in ("encode_s", "decode_s"):
        print(f"{key:<43}" + "".join(f"{total[name][key]:>20.3f}" for name in CODERS))
    ratio = total["brotli"]["encode_s"] / total["ours"]["encode_s"]
    print(f"ours encodes {ratio:.0f} times faster than Brotli\n")


if __name__ == "__main__":
    main()
