"""Folders whose names or figures have a defect that a review must name: kinds M7 to M11, each with variants."""

from tests.helpers import submission_folders as folders
from tests.helpers.submission_changes import (
    CLERICAL,
    CONTRADICTS,
    Miss,
    misnamed,
    one_log,
    readme,
    replace,
    runs_log,
    seed_table,
    stamped,
    valid_with,
)

STEP_SCORE = "step:13780/20000 val_loss:2.0606 val_bpb:1.2172"
FIGURE_MISSES = [
    Miss(
        "M7", one_log(stamped("1776143349.278 ", runs_log(1.2)), val_bpb=1.15), CONTRADICTS, "M-e", ("1.2", "in no log")
    ),
    Miss(
        "M7",
        one_log(stamped("[2026-04-01 12:00:03,123] ", folders.modern_log(5, 1.2)), val_bpb=1.15),
        CONTRADICTS,
        "M-e",
        ("in no log", "1.2"),
    ),
    Miss(
        "M7",
        one_log(stamped("2026-04-01T12:00:03.1Z INFO ", folders.modern_log(5, 1.2)), val_bpb=1.15),
        CONTRADICTS,
        "M-e",
        ("in no log", "1.2"),
    ),
    Miss(
        "M7",
        valid_with(
            lambda folder: (folder / "train_seed42.log").write_bytes(folders.modern_log(42, 1.09).encode("utf-16"))
        ),
        CONTRADICTS,
        "M-e",
        ("seed 42: json 1.0801, log 1.09",),
    ),
    Miss(
        "M7",
        valid_with(
            lambda folder: (folder / "train_seed42.log").write_bytes(folders.modern_log(42, 1.09).encode("utf-16-be"))
        ),
        CONTRADICTS,
        "M-e",
        ("seed 42: json 1.0801, log 1.09",),
    ),
    *(
        Miss("M7", one_log(stamped(prefix, runs_log(1.2)), val_bpb=1.15), CONTRADICTS, "M-e", ("in no log", "1.2"))
        for prefix in ("Apr 01 12:00:00 ", "[  12.3456] ", "12:00:01 | ", "[rank0]: ", "1776143349 ")
    ),
    Miss(
        "M8",
        valid_with(misnamed("submission.json", "submission_final.json")),
        CLERICAL,
        "files",
        ("submission_final.json",),
    ),
    Miss(
        "M8", valid_with(misnamed("train_gpt.py", "train_gpt_ttt.py")), CLERICAL, "files", ("train_gpt_ttt.py is read",)
    ),
    Miss(
        "M8",
        valid_with(misnamed("submission.json", "Submission-v2.json"), val_bpb=1.05),
        CONTRADICTS,
        "M-e",
        ("1.05", "Submission-v2.json"),
    ),
    Miss(
        "M9",
        one_log(runs_log(1.2), val_bpb=None, val_loss=1.2),
        CLERICAL,
        "M-e",
        ("no val_bpb", "val_loss 1.2"),
    ),
    Miss("M9", one_log(runs_log(1.2), val_bpb=None, val_loss=1.15), CONTRADICTS, "M-e", ("val_loss 1.15", "in no log")),
    Miss(
        "M9",
        one_log(runs_log(1.23), val_bpb=1.2172),
        CONTRADICTS,
        "M-e",
        ("training step", "step:13780/20000", "1.23"),
    ),
    Miss(
        "M9", one_log(f"seed:1\n{STEP_SCORE}\n", val_bpb=1.2172), CONTRADICTS, "M-e", ("training step", "train.log:2")
    ),
    Miss(
        "M9",
        valid_with(
            replace("train_seed42.log", "val_bpb:1.08200000", "val_bpb:1.07712345"),
            val_bpb=1.07712345,
            seed_results=None,
        ),
        CONTRADICTS,
        "M-e",
        ("diagnostic", "pre-quantization"),
    ),
    Miss("M9", valid_with(lambda _: None, val_bpb=4.0256, seed_results=None), CONTRADICTS, "M-e", ("in no log",)),
    Miss(
        "M10",
        valid_with(lambda folder: readme(folder, *seed_table({42: "1.0801 | 15,920,000", 314: "1.0741 | 15,920,000"}))),
        CONTRADICTS,
        "README",
        ("seed 314 1.0741, its log 1.0803", "README.md:6"),
    ),
    Miss(
        "M10",
        valid_with(
            lambda folder: readme(folder, *seed_table({42: "1.0801 | 15920000", 999: "**1.0805** | 15,999,999"}))
        ),
        CONTRADICTS,
        "README",
        ("seed 999 15,999,999, its log 15,920,000",),
    ),
    Miss(
        "M10",
        valid_with(lambda folder: readme(folder, *seed_table({42: "1.0801 | 1", 7: "1.0803 | 2"}))),
        CONTRADICTS,
        "README",
        ("has seed 7, of which there is no log",),
    ),
    Miss(
        "M10",
        valid_with(
            lambda folder: readme(
                folder, *seed_table({42: "1.0801 | 4,550", 314: "1.0803 | 4,999"}, "Seed | bpb | Steps")
            )
        ),
        CONTRADICTS,
        "README",
        ("steps", "seed 314 4,999, its log 4,550"),
    ),
    Miss(
        "M10",
        valid_with(lambda folder: readme(folder, "**val_bpb: 1.0741** (3-seed mean)")),
        CONTRADICTS,
        "README",
        ("1.0741", "1.0803"),
    ),
    Miss("M11", valid_with(lambda _: None, steps=5000), CONTRADICTS, "run figures", ("steps: json 5,000, log 4,550",)),
    Miss("M11", valid_with(lambda _: None, train_time=512.5), CONTRADICTS, "run figures", ("512.5 s, log 588 s",)),
    Miss("M11", valid_with(lambda _: None, train_time_ms=512_500), CONTRADICTS, "run figures", ("512.5 s, log 588 s",)),
    Miss("M11", valid_with(lambda _: None, model_params=21_800_000), CONTRADICTS, "run figures", ("21,800,000",)),
    Miss("M11", valid_with(lambda _: None, num_params="21.8M"), CONTRADICTS, "run figures", ("21,800,000",)),
]
