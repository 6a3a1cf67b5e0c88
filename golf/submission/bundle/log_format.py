"""The log of a run in the lines that the contest's scripts print, which reviewers and their tools read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = [
    "format_data",
    "format_score",
    "format_settings",
    "format_sizes",
    "format_steps",
    "format_training_end",
]


def format_settings(sections: Mapping[str, Mapping[str, Any]], seed: int) -> Iterator[str]:
    """Yield the seed and every setting, ``  section_key: value``. The seed stands alone, as logs differ in it."""
    for section, keys in sections.items():
        for key, value in keys.items():
            if (section, key) != ("train", "seed"):
                yield f"  {section}_{key}: {value}"
    yield f"seed: {seed}"


def format_data(
    *, world_size: int, hardware: str, n_params: int, train_shards: int, n_targets: int | None, is_export: bool
) -> Iterator[str]:
    """Yield what ran on what. The name val_tokens is kept for targets of FineWeb's val (is_export)."""
    yield f"world_size: {world_size}"
    yield f"hardware: {hardware}  "  # two spaces end the name of a GPU, as in nvidia-smi's table
    yield f"model_params: {n_params}"
    yield f"train_shards: {train_shards}"
    if n_targets is not None:
        yield f"{'val_tokens' if is_export else 'scored_tokens'}: {n_targets}"


def format_steps(rows: Iterable[Mapping[str, Any]], dev_rows: Iterable[Mapping[str, Any]], n_steps: int) -> list[str]:
    """Return a line for each row of the log tables, in the order of the steps."""
    lines: dict[tuple[int, str], str] = {}  # the last step has two rows of dev where dev_every divides it
    for name, row in [*(("loss", row) for row in rows), *(("dev_loss", row) for row in dev_rows)]:
        step, milliseconds = int(row["step"]), float(row["seconds"]) * 1000
        loss = f"{name if name == 'dev_loss' else 'train_loss'}:{float(row[name]):.4f}"
        time = f"train_time:{milliseconds:.0f}ms step_avg:{milliseconds / step:.2f}ms"
        lines[step, name] = f"step:{step}/{n_steps} {loss} {time}"
    return [lines[key] for key in sorted(lines, key=lambda key: key[0])]


def format_training_end(
    *, seconds: float, n_steps: int, n_hessians: int, calibration_s: float, has_stopped_early: bool
) -> Iterator[str]:
    """Yield the end of training and the seconds of calibration, which is training too (#677)."""
    total = f"train_time: {seconds * 1000:.0f}ms step: {n_steps}/{n_steps}"
    yield f"stopping_early: wallclock_cap {total}" if has_stopped_early else total
    yield f"GPTQ:collected {n_hessians} Hessians in {calibration_s:.3f}s"


def format_sizes(payload_bytes: int, code_bytes: int) -> Iterator[str]:
    """Yield the bytes of the model, of train_gpt.py as it is, and of both."""
    yield f"Serialized model golf: {payload_bytes} bytes"
    yield f"Code size: {code_bytes} bytes"
    yield f"Total submission size golf: {payload_bytes + code_bytes} bytes"


def format_score(mode: str, loss: float, bpb: float, seconds: float, *, is_headline: bool) -> str:
    """Return the line of a pass. seconds: to its last score. Only the headline is a final score."""
    name = f"final_{mode}" if is_headline else f"diagnostic_{mode}"
    return f"{name} val_loss:{loss:.8f} val_bpb:{bpb:.8f} eval_time:{seconds * 1000:.0f}ms"
