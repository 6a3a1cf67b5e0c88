"""Submission folders in the contest's form, made up by us: sound ones, of which each test spoils one thing."""

import json
import math
from pathlib import Path

TOKENS, BYTES = 40_540_160, 151_078_222  # of val by the 8,192 pieces
SCORES = {42: 1.0801, 314: 1.0803, 999: 1.0805}
BLOB, CODE = 15_900_000, 20_000
RULE = "=" * 100


def loss(bpb: float, tokens: int = TOKENS, text: int = BYTES) -> float:
    """Nats a token of a score in bits a byte."""
    return bpb * math.log(2) * text / tokens


def modern(seed: int, bpb: float, **changed) -> str:
    """A log with hyperparameters, a dumped source, a GPU table, calibration and three final passes."""
    fact = {"tokens": TOKENS, "shards": 80, "train_ms": 588_000, "hessians": "11.5", "blob": BLOB, "code": CODE}
    fact |= {"gpu": "H100 80GB HBM3", "world": 8, "eval_ms": 366_500, "layers": 11, "loss": loss(bpb), **changed}
    return f"""{RULE}
Hyperparameters:
  data_dir: /machine/{seed}/data
  num_layers: {fact["layers"]}
  seed: {seed}
  world_size: {fact["world"]}
{RULE}
import torch
def main():
    log(f"quantized_ttt val_loss:{{found:.8f}} val_bpb:{{bits:.8f}}")
quantized_ttt val_loss:1.00000000 val_bpb:0.10000000
{RULE}
|   0  NVIDIA {fact["gpu"]}          On  |   00000000:19:00.0 Off |
{RULE}
train_shards: {fact["shards"]}
val_tokens: {fact["tokens"]}
model_params:35944536
0/20000 val_loss: 9.0090 val_bpb: 3.4877
4550/20000 train_loss: 2.7000 train_time: 9.8m tok/s: 6100000
stopping_early: wallclock_cap train_time: {fact["train_ms"]}ms step: 4550/20000
pre-quantization post-ema val_loss:2.80000000 val_bpb:1.08200000 eval_time:6900ms
Serialized model: 135431033 bytes
Code size: {fact["code"]} bytes
GPTQ:collected 67 Hessians in {fact["hessians"]}s
Serialized model quantized+brotli: {fact["blob"]} bytes
Total submission size quantized+brotli: {fact["blob"] + fact["code"]} bytes
quantized val_loss:{loss(bpb + 0.02):.8f} val_bpb:{bpb + 0.02:.8f} eval_time:25500ms
quantized_sliding_window val_loss:{loss(bpb + 0.002):.8f} val_bpb:{bpb + 0.002:.8f} eval_time:121000ms
quantized_ttt val_loss:{fact["loss"]:.8f} val_bpb:{bpb:.8f} eval_time:{fact["eval_ms"]}ms
"""


def early(seed: int, bpb: float, tokens: int = 62_021_632, text: int = BYTES) -> str:
    """A log of the first lineage: facts in a row, a score of four places and its exact twin."""
    nats = loss(bpb, tokens, text)
    return f"""val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=./data/tokenizers/a.model
train_loader:dataset:fineweb10B_sp1024 train_shards:25
val_loader:shards pattern=./data/val_*.bin tokens:{tokens}
model_params:17059912
world_size:8 grad_accum_steps:1
train_batch_tokens:524288 train_seq_len:1024 iterations:20000 warmup_steps:20
seed:{seed}
warmup_step:20/20
step:0/20000 val_loss:6.9370 val_bpb:4.1080 train_time:0ms step_avg:0.03ms
step:13780/20000 val_loss:2.0606 val_bpb:1.2172 train_time:600038ms step_avg:43.54ms
stopping_early: wallclock_cap train_time:600038ms step:13780/20000
Serialized model: 67224983 bytes
Code size: {CODE} bytes
Total submission size: 67244983 bytes
Serialized model int8+zlib: {BLOB} bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)
Total submission size int8+zlib: {BLOB + CODE} bytes
final_int8_zlib_roundtrip val_loss:{nats:.4f} val_bpb:{bpb:.4f} eval_time:1401ms
final_int8_zlib_roundtrip_exact val_loss:{nats:.8f} val_bpb:{bpb:.8f}
"""


def tree(scores: dict[int, float] = SCORES, **changed) -> dict:
    """A submission.json that claims what ``sound`` logs."""
    sizes = {"artifact_bytes": BLOB + CODE}
    results = {str(seed): {"val_bpb": bpb, "val_loss": loss(bpb), **sizes} for seed, bpb in scores.items()}
    made = {
        "author": "somebody",
        "track": "10min_16mb",
        "val_bpb": round(sum(scores.values()) / max(1, len(scores)), 8),
        "seeds": list(scores),
        "seed_results": results,
        "bytes_total": BLOB + CODE,
        "bytes_code": CODE,
        "hardware": "8xH100 80GB SXM",
    }
    return made | changed


def sound(folder: Path, scores: dict[int, float] = SCORES, claims: dict | None = None, **changed) -> Path:
    """Write a whole submission; ``changed`` goes into every log, ``claims`` into the json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("A submission.\n")
    (folder / "train_gpt.py").write_text("import math\n".ljust(CODE, "#"))
    (folder / "submission.json").write_text(json.dumps(tree(scores, **(claims or {}))))
    for seed, bpb in scores.items():
        (folder / f"train_seed{seed}.log").write_text(modern(seed, bpb, **changed))
    return folder
