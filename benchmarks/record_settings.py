"""The record's profile on one GPU, on two CPU cores, and with a tiny model: what is changed, and why."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ruamel.yaml import YAML

from golf.data.sources import text_files
from golf.errors import ConfigError, InputError

__all__ = [
    "CPU_CHANGES",
    "CPU_EXECUTION",
    "CPU_OVERRIDES",
    "HELD_OUT_BYTES",
    "MAX_HELD_OUT_PERCENT",
    "PARAM_OVERRIDES",
    "RECORD_PROFILE",
    "STAGES_WITH_A_MODEL",
    "TINY_OVERRIDES",
    "compute_held_out_percent",
    "list_changes",
    "make_params",
    "parse_settings",
]

RECORD_PROFILE = Path(__file__).parents[1] / "profiles" / "record.yaml"
HELD_OUT_BYTES = 98_304  # of text, in dev and in val on a CPU: 20,000 to 40,000 tokens each
MAX_HELD_OUT_PERCENT = 10.0  # of a small text
PARAM_OVERRIDES: dict[str, object] = {  # one rank, and the row_column grid with the ANS coder, which fills the limit
    "fetch.source": "files",
    "fetch.val_percent": 1.0,
    "fetch.dev_percent": 0.5,
    "fetch.held_out": "documents",  # as the contest's own split
    "fetch.shard_tokens": 10_000_000,
    "train.ranks": 1,
    "train.reserve_s": 15.0,
    "train.batch_tokens": 196_608,
    "train.muon_momentum_warmup_steps": 500,
    "train.checkpoint_every": None,
    "train.dev_every": 500,
    "train.dev_tokens": 65_536,
    "ttt.ranks": 1,
    "calibrate.ranks": 1,
    "calibrate.batches": 16,
    "calibrate.batch_tokens": 98_304,
    "calibrate.sensitivity_tokens": 98_304,
    "quantize.grid": "row_column",
    "compress.codec": "ans",
    "compress.code_reserve_bytes": 50_000,  # of the bundle, with the code of this grid and this coder
    "evaluate.ranks": 1,
    "evaluate.limit_s": None,
}
STAGES_WITH_A_MODEL = ("train", "ema", "ttt", "calibrate", "evaluate")
_FORWARD = "a forward pass of a token is 0.14 GFLOP, and learning from it three times that"
_SHORT = "hundreds of steps, where the record makes thousands"
CPU_CHANGES: dict[str, tuple[object, str]] = {  # beside PARAM_OVERRIDES: what two cores need, and its reason
    **{f"{stage}.device": ("cpu", "there is no GPU") for stage in STAGES_WITH_A_MODEL},
    **{
        f"{stage}.dtype": ("auto", "bf16 where the CPU is faster in it")
        for stage in STAGES_WITH_A_MODEL
        if stage != "evaluate"
    },
    "evaluate.dtype": ("float32", "the proof's tolerances are tightest"),
    **{
        f"{stage}.compile": ("off", "compiling takes longer than it saves on so few tokens")
        for stage in STAGES_WITH_A_MODEL
        if stage != "train"
    },
    "fetch.held_out": ("strict", "documents of one origin share paragraphs, which a score would count"),
    "fetch.contamination": (True, "the text is small enough to measure it"),
    "train.reserve_s": (900.0, "the Hessians of 65,536 tokens take minutes"),
    "train.batch_tokens": (4_096, "the record's 786,432 would be one step in half an hour"),
    "train.micro_batch_tokens": (2_048, "one window: activations take about 1 MB a token"),
    "train.muon_momentum_warmup_steps": (100, _SHORT),
    "train.ema_decays": ([0.97], _SHORT),
    "train.ema_basis_decays": ([0.94, 0.985], _SHORT),
    "ema.decay": (0.97, _SHORT),
    "train.ema_snapshots": (1, "each is two copies of the weights in memory and in every saved state"),
    "train.compile_warmup_steps": (1, "one step of each graph is enough to compile it"),
    "train.log_every": (10, _SHORT),
    "train.dev_every": (50, _SHORT),
    "train.dev_tokens": (8_192, f"{_FORWARD}; this counts as training time"),
    "train.resume_save_s": (300.0, "a saved state is a gigabyte"),
    "ema.eval_batch_tokens": (8_192, "memory"),
    **{f"{stage}.stride": (512, f"{_FORWARD}; at stride 64 a target costs 32 passes") for stage in ("ttt", "evaluate")},
    **{f"{stage}.eval_batch_tokens": (8_192, "memory") for stage in ("ttt", "evaluate")},
    "ttt.chunk_tokens": (4_096, "the held-out slice has to have several chunks"),
    "ttt.batch_tokens": (2_048, "one window: activations take about 1 MB a token"),
    "calibrate.batches": (8, _FORWARD),
    "calibrate.batch_tokens": (8_192, _FORWARD),
    "calibrate.micro_batch_tokens": (4_096, "memory"),
    "calibrate.sensitivity_tokens": (8_192, _FORWARD),
    "quantize.coding": ("trellis", "the smallest of golf's codes; the others are compared with it"),
    "quantize.rate_weight": (0.05, "the default profile's"),
    "compress.code_reserve_bytes": (52_500, "of the bundle, with the code of the trellis"),
}
CPU_OVERRIDES = {key: value for key, (value, _) in CPU_CHANGES.items()}
CPU_EXECUTION = {"device": "cpu", "compile": "off", "dtype": "float32"}
TINY_OVERRIDES: dict[str, object] = {
    **{f"{stage}.{key}": value for stage in STAGES_WITH_A_MODEL for key, value in CPU_EXECUTION.items()},
    "model.vocab_size": 512,
    "model.n_layers": 3,
    "model.d_model": 32,
    "model.n_heads": 4,
    "model.n_kv_heads": 2,
    "model.d_ff": 64,
    "model.context_length": 64,
    "model.rope_dims": 4,
    "model.recur_start": 1,
    "model.recur_end": 1,
    "model.parallel_residual_from": 2,
    "train.batch_tokens": 1024,
    "train.micro_batch_tokens": 512,
    "train.muon_momentum_warmup_steps": 10,
    "train.reserve_s": 1.0,
    "train.log_every": 10,
    "train.dev_every": None,
    "train.dev_tokens": 1024,
    "ema.eval_batch_tokens": 4096,
    "ttt.stride": 32,
    "ttt.eval_batch_tokens": 2048,
    "ttt.chunk_tokens": 1024,
    "ttt.batch_tokens": 1024,
    "calibrate.batches": 2,
    "calibrate.batch_tokens": 1024,
    "calibrate.micro_batch_tokens": 512,
    "calibrate.sensitivity_tokens": 1024,
    "quantize.min_weights": 256,
    "compress.limit_bytes": 100_000,
    "evaluate.stride": 32,
    "evaluate.eval_batch_tokens": 2048,
    "evaluate.proof_places": 1,
}


def make_params(profile: Path, overrides: Mapping[str, object]) -> dict:
    """The profile with dotted keys set. Raises ConfigError for a key that it does not have."""
    params_tree = YAML(typ="safe", pure=True).load(profile.read_text(encoding="utf-8"))
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if key not in params_tree.get(section, ()):
            raise ConfigError(f"--set {dotted}: no such key in {profile}; expected section.key=value")
        params_tree[section][key] = value
    return params_tree


def parse_settings(pairs: Iterable[str]) -> dict[str, object]:
    """KEY=VALUE by dotted key, each value as YAML has it."""
    yaml = YAML(typ="safe", pure=True)
    return {key: yaml.load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def list_changes(profile: Path, params_tree: Mapping[str, object]) -> list[dict[str, object]]:
    """Every key with another value than the profile's: key, profile, here, and the reason where it is the CPU's."""
    original = YAML(typ="safe", pure=True).load(profile.read_text(encoding="utf-8"))
    rows = []
    for section, keys in original.items():
        for key, value in keys.items() if isinstance(keys, dict) else ():
            dotted, own = f"{section}.{key}", params_tree[section][key]
            if own != value:
                reason = CPU_CHANGES[dotted][1] if dotted in CPU_CHANGES and own == CPU_OVERRIDES[dotted] else None
                rows.append({"key": dotted, "profile": value, "here": own, "reason": reason})
    return rows


def compute_held_out_percent(folder: Path) -> float:
    """The share of documents for dev, and for val, that gives each about HELD_OUT_BYTES of the texts in a folder.

    Documents are assigned by hash, so the slices may come out half or twice as large. Raises InputError as fetch does.
    """
    n_bytes = sum(len(document.text.encode()) for document in text_files.read_documents(folder)[0])
    if not n_bytes:
        raise InputError(f"--text {folder}: its documents are empty; give a folder of prose")
    return min(MAX_HELD_OUT_PERCENT, float(f"{100 * HELD_OUT_BYTES / n_bytes:.3g}"))
