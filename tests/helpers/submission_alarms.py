"""Honest folders, in which a review must find nothing severe: kinds A1 to A9, each with variants.

A case writes a folder and gives the checks that must find neither a broken rule nor a contradiction, and words that the
review must say somewhere: as a clerical finding, an open question or a note.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.helpers import submission_folders as folders
from tests.helpers.submission_changes import one_log, readme, replace, runs_log, seed_table, valid_with

ALL_LOGS = [f"train_seed{seed}.log" for seed in folders.BPB_BY_SEED]
MEAN_BYTES = folders.MODEL_BYTES + folders.CODE_BYTES


class Alarm(NamedTuple):
    """A folder's kind and writer; words that its review must say."""

    row: str
    write: Callable[[Path], None]
    words: tuple[str, ...] = ()


def in_all_logs(*pairs: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in ALL_LOGS:
            replace(name, *pairs)(folder)

    return change


def several(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def add_log(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return change


def copy_log(name: str, old: str = "", new: str = "", encoding: str = "utf-8") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / ALL_LOGS[0]).read_text()
        (folder / name).write_bytes(text.replace(old or "\0", new).encode(encoding))

    return change


def totals(**bytes_by_seed: int) -> Callable[[Path], None]:
    """Give each seed's log a model of its own size, and json no sizes of the seeds."""

    def change(folder: Path) -> None:
        for name, size in zip(ALL_LOGS, bytes_by_seed.values(), strict=True):
            total, model = folders.MODEL_BYTES + folders.CODE_BYTES, folders.MODEL_BYTES
            replace(
                name, f"brotli: {total}", f"brotli: {size}", f"brotli: {model}", f"brotli: {size - folders.CODE_BYTES}"
            )(folder)
        claims = json.loads((folder / "submission.json").read_text())
        for result in claims["seed_results"].values():
            del result["artifact_bytes"]
        (folder / "submission.json").write_text(json.dumps(claims))

    return change


def without_seed_table(folder: Path) -> None:
    claims = json.loads((folder / "submission.json").read_text())
    del claims["seed_results"], claims["seeds"]
    (folder / "submission.json").write_text(json.dumps(claims))


def without_last_pass(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("\n".join((folder / name).read_text().splitlines()[:-1])) and None


def windows_log(n_bytes: int, n_tokens: int = 40_534_016) -> str:
    return folders.modern_log(42, 1.0801, tokens=n_tokens, loss=folders.nats_per_token(1.0801, n_tokens, n_bytes))


TTT = "ttt_sliding:done val_loss=1.948100 val_bpb=1.153778 elapsed={first}s\n"
LEGAL = "legal_ttt val_loss:1.9481 val_bpb:1.1538 stride:64 eval_time:{second}ms\n"
EXACT = "legal_ttt_exact val_loss:1.94810047 val_bpb:1.15377788\n"


def ttt_log(*lines: str) -> str:
    return f"seed:5\nworld_size:8\nstep:9/9 train_loss:2.0 train_time:590000ms\n{''.join(lines)}"


def record_log(train_ms: int, hessians: str = "0.0") -> Callable[[Path], None]:
    return valid_with(in_all_logs("train_time: 588000ms", f"train_time: {train_ms}ms", "in 11.5s", f"in {hessians}s"))


ALARMS = [
    Alarm(
        "A1",
        one_log(ttt_log(TTT.format(first=409.8), LEGAL.format(second=410_268), EXACT), val_bpb=1.15377788),
    ),
    Alarm("A1", one_log(ttt_log(TTT.format(first=409.8), EXACT), val_bpb=1.1538)),
    Alarm(
        "A1",
        one_log(
            ttt_log(
                "quantized_ttt val_loss:1.94810047 val_bpb:1.15377788 eval_time:410000ms\n",
                "final_int8_zlib_roundtrip_exact val_loss:1.94810047 val_bpb:1.15377788 eval_time:421000ms\n",
            ),
            val_bpb=1.15377788,
        ),
    ),
    Alarm("A2", record_log(600_076), ("76 ms",)),
    Alarm("A2", record_log(600_290), ("290 ms", "queued steps")),
    Alarm("A2", record_log(599_600, "3.5"), ("603.1 s", "3.5 s outside the clock")),
    Alarm(
        "A2",
        one_log(
            runs_log(1.2).replace("train_time:600038ms step:13780/20000\nSer", "train_time:600076ms step:8552\nSer"),
            val_bpb=1.2,
        ),
        ("76 ms",),
    ),
    Alarm("A3", valid_with(totals(a=15_990_000, b=15_991_001, c=15_992_002), bytes_total=15_991_001)),
    Alarm(
        "A3",
        valid_with(totals(a=15_990_000, b=15_991_000, c=15_992_006), bytes_total=15_991_002),
        ("mean of the logs",),
    ),
    Alarm("A3", valid_with(totals(a=15_990_000, b=15_991_000, c=15_992_006), bytes_total=15_992_006), ("the maximum",)),
    Alarm("A3", valid_with(totals(a=15_990_000, b=15_991_000, c=15_992_006), bytes_total=15.99)),
    Alarm("A4", valid_with(without_seed_table, val_bpb=1.0801)),
    Alarm("A4", valid_with(without_seed_table, val_bpb=1.0805, val_loss=folders.nats_per_token(1.0805))),
    Alarm("A4", valid_with(several(without_seed_table, add_log("z.log", folders.modern_log(7, 1.2))))),
    Alarm("A4", valid_with(without_seed_table, val_bpb=1.0821)),
    Alarm("A5", valid_with(copy_log("train.log")), ("train.log: a copy of train_seed42.log",)),
    Alarm("A5", valid_with(copy_log("train.log", "\n", "\r\n")), ("a copy",)),
    Alarm("A5", valid_with(copy_log("train.txt", encoding="utf-16")), ("a copy",)),
    Alarm(
        "A5",
        valid_with(copy_log("out.log", "Hyperparameters:", "nohup: ignoring input\nHyperparameters:")),
        ("same run",),
    ),
    Alarm("A6", one_log(windows_log(151_024_099, 32_768 * 1237), val_bpb=1.0801), ("tail of val",)),
    Alarm("A6", one_log(windows_log(151_063_000, 4096 * 9896), val_bpb=1.0801), ("tail of val",)),
    Alarm(
        "A6",
        one_log(
            windows_log(151_030_000, 40_530_001).replace("  seed", "  eval_seq_len: 32768\n  seed"), val_bpb=1.0801
        ),
        ("tail of val",),
    ),
    Alarm(
        "A7",
        valid_with(
            several(
                *(
                    replace(name, "4550/20000 train_loss: 2.7000 train_time: 9.8m", line)
                    for name, line in zip(
                        ALL_LOGS,
                        (f"step:6000/10000 loss:3.{n} t:55{n}871ms avg:91.{n}ms" for n in (1, 2, 3)),
                        strict=True,
                    )
                )
            )
        ),
    ),
    Alarm(
        "A7",
        valid_with(
            several(
                *(
                    replace(name, "model_params", f"compile_time:13{n}.2s peak_mem:4{n}MB\nmodel_params")
                    for n, name in enumerate(ALL_LOGS)
                )
            )
        ),
    ),
    Alarm(
        "A7",
        valid_with(
            several(
                *(
                    replace(name, "model_params", f"iter:1{n}/900 loss:4.{n} lr:0.0{n}\nmodel_params")
                    for n, name in enumerate(ALL_LOGS)
                )
            )
        ),
    ),
    Alarm("A8", valid_with(several(without_seed_table, without_last_pass(ALL_LOGS[0])), val_bpb=1.0823)),
    Alarm("A8", valid_with(several(without_seed_table, without_last_pass(ALL_LOGS[2])), val_bpb=1.0823)),
    Alarm("A8", valid_with(several(without_seed_table, in_all_logs("\nquantized_ttt ", "\n\nttt_final ")))),
    Alarm(
        "A9",
        valid_with(add_log("repeat_2gpu.log", folders.modern_log(42, 1.0807, world=2, train_ms=2_400_000))),
        ("repeat_2gpu.log (2 GPUs)",),
    ),
    Alarm(
        "A9",
        valid_with(
            several(
                without_seed_table,
                add_log(
                    "train_seed42_2gpu.log",
                    folders.modern_log(42, 1.0807, world=2, train_ms=2_400_000, eval_ms=1_900_000),
                ),
            )
        ),
        ("2 GPUs",),
    ),
    Alarm(
        "A9",
        valid_with(
            several(
                without_seed_table,
                add_log("ablation/no_ttt_seed5.log", folders.modern_log(5, 1.0907, layers=9, train_ms=900_000)),
            )
        ),
        ("not selected",),
    ),
    Alarm(
        "M10",
        valid_with(
            lambda folder: readme(
                folder,
                *seed_table(
                    {42: "1.0821 | **1.0801** | 15,920,000", 314: "1.0823 | 1.0803 | 15920000"},
                    "Seed | Sliding bpb | TTT BPP | Artifact",
                ),
                "| **Mean** | 1.0823 | **1.0803** | |",
                "",
                "| Change | seed | bpb |",
                "|---|---|---|",
                "| before | 42 | 1.1001 |",
            )
        ),
    ),
    Alarm("M11", valid_with(lambda _: None, steps=4550, train_time_seconds=600, model_params="35.9M", eval_time_s=366)),
    Alarm(
        "M-e",
        valid_with(lambda folder: (folder / ALL_LOGS[0]).unlink()),
        ("claims scores of seed 42, of which no log has a score",),
    ),
    Alarm("std", valid_with(lambda _: None, val_bpb_std=0.00023)),
]
