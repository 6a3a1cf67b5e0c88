"""Synthetic submission folders in the contest's format: valid ones, in which each test breaks one thing."""

import json
import math
from pathlib import Path

from golf.compliance.check_result import CheckResult
from golf.submission import record_margin, report
from golf.submission.findings import CHECKS, CheckOutcome

DOCS = Path(__file__).parents[2] / "docs"
VAL_TOKENS, VAL_BYTES = 40_540_160, 151_078_222  # of val with the tokenizer of 8,192 pieces
BPB_BY_SEED = {42: 1.0801, 314: 1.0803, 999: 1.0805}
MODEL_BYTES, CODE_BYTES = 15_900_000, 20_000
SEPARATOR = "=" * 100


def nats_per_token(bpb: float, n_tokens: int = VAL_TOKENS, n_bytes: int = VAL_BYTES) -> float:
    """The loss in nats per token of a score in bits per byte."""
    return bpb * math.log(2) * n_bytes / n_tokens


def modern_log(seed: int, bpb: float, **overrides: object) -> str:
    """A log with hyperparameters, the dump of a source, a GPU table, calibration and three final passes."""
    facts = {
        "tokens": VAL_TOKENS,
        "shards": 80,
        "train_ms": 588_000,
        "hessians": "11.5",
        "model_bytes": MODEL_BYTES,
        "code": CODE_BYTES,
    }
    facts |= {
        "gpu": "H100 80GB HBM3",
        "world": 8,
        "eval_ms": 366_500,
        "layers": 11,
        "loss": nats_per_token(bpb),
        **overrides,
    }
    return f"""{SEPARATOR}
Hyperparameters:
  data_dir: /machine/{seed}/data
  num_layers: {facts["layers"]}
  seed: {seed}
  world_size: {facts["world"]}
{SEPARATOR}
import torch
def main():
    log(f"quantized_ttt val_loss:{{loss:.8f}} val_bpb:{{bpb:.8f}}")
quantized_ttt val_loss:1.00000000 val_bpb:0.10000000
{SEPARATOR}
|   0  NVIDIA {facts["gpu"]}          On  |   00000000:19:00.0 Off |
{SEPARATOR}
train_shards: {facts["shards"]}
val_tokens: {facts["tokens"]}
model_params:35944536
0/20000 val_loss: 9.0090 val_bpb: 3.4877
4550/20000 train_loss: 2.7000 train_time: 9.8m tok/s: 6100000
stopping_early: wallclock_cap train_time: {facts["train_ms"]}ms step: 4550/20000
pre-quantization post-ema val_loss:2.80000000 val_bpb:1.08200000 eval_time:6900ms
Serialized model: 135431033 bytes
Code size: {facts["code"]} bytes
GPTQ:collected 67 Hessians in {facts["hessians"]}s
Serialized model quantized+brotli: {facts["model_bytes"]} bytes
Total submission size quantized+brotli: {facts["model_bytes"] + facts["code"]} bytes
quantized val_loss:{nats_per_token(bpb + 0.02):.8f} val_bpb:{bpb + 0.02:.8f} eval_time:25500ms
quantized_sliding_window val_loss:{nats_per_token(bpb + 0.002):.8f} val_bpb:{bpb + 0.002:.8f} eval_time:121000ms
quantized_ttt val_loss:{facts["loss"]:.8f} val_bpb:{bpb:.8f} eval_time:{facts["eval_ms"]}ms
"""


def early_log(seed: int, bpb: float, n_tokens: int = 62_021_632, n_bytes: int = VAL_BYTES) -> str:
    """A log of the first lineage: facts in a row, a score with four decimals and its ``_exact`` copy."""
    val_loss = nats_per_token(bpb, n_tokens, n_bytes)
    return f"""val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=./data/tokenizers/a.model
train_loader:dataset:fineweb10B_sp1024 train_shards:25
val_loader:shards pattern=./data/val_*.bin tokens:{n_tokens}
model_params:17059912
world_size:8 grad_accum_steps:1
train_batch_tokens:524288 train_seq_len:1024 iterations:20000 warmup_steps:20
seed:{seed}
warmup_step:20/20
step:0/20000 val_loss:6.9370 val_bpb:4.1080 train_time:0ms step_avg:0.03ms
step:13780/20000 val_loss:2.0606 val_bpb:1.2172 train_time:600038ms step_avg:43.54ms
stopping_early: wallclock_cap train_time:600038ms step:13780/20000
Serialized model: 67224983 bytes
Code size: {CODE_BYTES} bytes
Total submission size: 67244983 bytes
Serialized model int8+zlib: {MODEL_BYTES} bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)
Total submission size int8+zlib: {MODEL_BYTES + CODE_BYTES} bytes
final_int8_zlib_roundtrip val_loss:{val_loss:.4f} val_bpb:{bpb:.4f} eval_time:1401ms
final_int8_zlib_roundtrip_exact val_loss:{val_loss:.8f} val_bpb:{bpb:.8f}
"""


def submission_json(bpb_by_seed: dict[int, float] = BPB_BY_SEED, **overrides: object) -> dict[str, object]:
    """A submission.json that claims what the logs of ``write_valid_submission`` say."""
    sizes = {"artifact_bytes": MODEL_BYTES + CODE_BYTES}
    results = {
        str(seed): {"val_bpb": bpb, "val_loss": nats_per_token(bpb), **sizes} for seed, bpb in bpb_by_seed.items()
    }
    claims = {
        "author": "someone",
        "track": "10min_16mb",
        "val_bpb": round(sum(bpb_by_seed.values()) / max(1, len(bpb_by_seed)), 8),
        "seeds": list(bpb_by_seed),
        "seed_results": results,
        "bytes_total": MODEL_BYTES + CODE_BYTES,
        "bytes_code": CODE_BYTES,
        "hardware": "8xH100 80GB SXM",
    }
    return claims | overrides


def write_valid_submission(
    folder: Path,
    bpb_by_seed: dict[int, float] = BPB_BY_SEED,
    claims: dict[str, object] | None = None,
    **log_overrides: object,
) -> Path:
    """Write a complete submission; ``log_overrides`` change every log, ``claims`` the submission.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("A submission.\n")
    (folder / "train_gpt.py").write_text("import math\n".ljust(CODE_BYTES, "#"))
    (folder / "submission.json").write_text(json.dumps(submission_json(bpb_by_seed, **(claims or {}))))
    for seed, bpb in bpb_by_seed.items():
        (folder / f"train_seed{seed}.log").write_text(modern_log(seed, bpb, **log_overrides))
    return folder


def review(folder: Path, baseline: Path | None = None) -> report.SubmissionReview:
    """The review behind ``golf check-submission``."""
    return report.review_folder(folder, record_margin.load_seed_scores(baseline) if baseline else ())


def run_checks(folder: Path, baseline: Path | None = None) -> list[CheckResult]:
    """The outcomes of the review as rows of a verdict."""
    return [to_result(outcome) for outcome in review(folder, baseline).outcomes]


def to_result(outcome: CheckOutcome) -> CheckResult:
    """An outcome as a row of a verdict."""
    note = "; ".join(finding.text for finding in outcome.findings) or outcome.not_checked
    return CheckResult(outcome.check, outcome.status, outcome.measured, CHECKS[outcome.check].rule, note)


def outcome(folder: Path, check: str) -> CheckOutcome:
    """The outcome of one check."""
    return next(one for one in review(folder).outcomes if one.check == check)


def texts(result: CheckOutcome) -> str:
    """Its findings with their places, the reason why it was not made, and its notes."""
    found = [f"{finding.severity}: {finding.text} ({finding.where})" for finding in result.findings]
    return "; ".join([*found, result.not_checked, *result.notes])
