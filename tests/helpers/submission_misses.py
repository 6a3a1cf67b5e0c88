"""Folders with a defect that a review must name: kinds M1 to M11, each with variants.

A case writes a folder and gives the severity of the finding, its check, and words that it holds.
"""

import base64
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.helpers import submission_folders as folders

BREAKS, CONTRADICTS, CLERICAL, OPEN = "breaks a rule", "contradicts itself", "clerical", "not ruled on"
SCRIPT_LINES = [
    "import os",
    "import torch",
    'num_layers = int(os.environ.get("NUM_LAYERS", 11))',
    "dropout = 0.1",
    'class Hyperparameters:\n    lr = float(os.environ.get("LR", "0.02"))',
    "def main():\n    print(num_layers)",
    "main()",
]
TRACEBACK = 'Traceback (most recent call last):\n  File "train_gpt.py", line 3\nTypeError: enable_gqa\n'


class Miss(NamedTuple):
    """A folder's writer and the finding that its review must hold."""

    row: str
    write: Callable[[Path], None]
    severity: str
    check: str
    words: tuple[str, ...]


def one_log(text: str, name: str = "train.log", **claims: object) -> Callable[[Path], None]:
    """A folder with this log alone and these claims."""

    def write(folder: Path) -> None:
        folders.write_valid_submission(folder, {}, {"seeds": None, **claims})
        (folder / name).write_text(text)

    return write


def valid_with(change: Callable[[Path], object], **claims: object) -> Callable[[Path], None]:
    """A valid folder to which a change is made."""

    def write(folder: Path) -> None:
        folders.write_valid_submission(folder, claims=claims)
        change(folder)

    return write


def replace(name: str, *pairs: str) -> Callable[[Path], None]:
    """Replace texts in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in text, old
            text = text.replace(old, new)
        (folder / name).write_text(text)

    return change


def gdn_log(tokens: str, scores: str) -> str:
    return f"Hyperparameters:\n  seed: 1337\n{tokens}\nstep:9/9 train_loss:2.0 train_time:500000ms\n{scores}\n"


def runs_log(*bpbs: float, seed: int = 1337) -> str:
    return "".join(folders.early_log(seed, bpb) for bpb in bpbs)


def dumped(folder: Path, shipped: list[str], printed: list[str]) -> None:
    (folder / "train_gpt.py").write_text("\n".join(shipped).ljust(folders.CODE_BYTES, "#"))
    for log in folder.glob("*.log"):
        text = log.read_text()
        start = text.index("import torch\n")
        end = text.index(folders.SEPARATOR, start)
        source = "\n".join(printed).ljust(folders.CODE_BYTES, "#")
        log.write_text(f"{text[:start]}{source}\n{text[end:]}")


def ship(folder: Path, script: str, **others: int) -> None:
    """Ship this script with files of these sizes; ``__`` in a name is its dot. The logs count the script alone."""
    (folder / "train_gpt.py").write_text(script)
    for name, size in others.items():
        (folder / name.replace("__", ".")).write_text("#" * size)
    for log in folder.glob("*.log"):
        total = folders.MODEL_BYTES + len(script)
        text = log.read_text().replace(f"Code size: {folders.CODE_BYTES}", f"Code size: {len(script)}")
        log.write_text(text.replace(f"brotli: {folders.MODEL_BYTES + folders.CODE_BYTES}", f"brotli: {total}"))
    claims = json.loads((folder / "submission.json").read_text())
    claims |= {"bytes_total": folders.MODEL_BYTES + len(script), "bytes_code": len(script), "seed_results": None}
    (folder / "submission.json").write_text(json.dumps(claims))


def packed(source: str, encode: Callable[[bytes], bytes] = base64.b85encode, module: str = "lzma") -> str:
    data = lzma.compress(source.encode()) if module == "lzma" else zlib.compress(source.encode())
    decode = "b85decode" if encode is base64.b85encode else "b64decode"
    return f"import {module} as L,base64 as B\nexec(L.decompress(B.{decode}({encode(data).decode()!r})))\n"


def readme(folder: Path, *lines: str) -> None:
    (folder / "README.md").write_text("\n".join(["# Record", "", *lines, ""]))


def seed_table(rows: dict[int, str], titles: str = "Seed | TTT bpb | Artifact") -> list[str]:
    return [f"| {titles} |", "|---|---|---|", *(f"| {seed} | {row} |" for seed, row in rows.items())]


SHORT = "final_int6_ttt_exact val_loss:3.0700 val_bpb:1.0100"
ZLIB_B64 = packed("import helper\nload(sources=['kernel.cpp'])\n" * 40, base64.b64encode, "zlib")
LZMA_B85 = packed("import helper\nfrom torch.utils.cpp_extension import load\n" * 40)

MISSES = [
    Miss("M1", one_log(gdn_log("Validation tokens: 40,540,160", SHORT)), BREAKS, "M-a", ("177.", "train.log:5")),
    Miss("M1", one_log(gdn_log("val tokens: 40540160", SHORT)), BREAKS, "M-a", ("177.",)),
    Miss("M1", one_log(gdn_log("Loaded 40_540_160 validation tokens", SHORT)), BREAKS, "M-a", ("177.",)),
    Miss(
        "M1",
        one_log(gdn_log("num_val_tokens=40540160", "legal_ttt val_bpb:1.0100 val_loss:3.0700")),
        BREAKS,
        "M-a",
        ("177.",),
    ),
    Miss(
        "M2", one_log(f"seed:7\n{TRACEBACK}", val_bpb=1.1), CONTRADICTS, "logs", ("traceback", "step 1", "no log bears")
    ),
    Miss(
        "M2",
        one_log("[rank0]: Traceback (most recent call last):\n[rank0]:   x\nRuntimeError: CUDA", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("traceback before step 1", "no log bears"),
    ),
    Miss(
        "M2",
        one_log("seed:7\nstep:300/9000 train_loss:2.0 train_time:9000ms\nKilled\n", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("error", "after step 300", "no log bears"),
    ),
    Miss(
        "M2",
        one_log("seed:7\nstep:300/9000 train_loss:2.0 train_time:9000ms\n", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("cut short at step 300", "no log bears"),
    ),
    Miss(
        "M3",
        valid_with(replace("train_seed42.log", "Code size: 20000", "Code size: 16,630")),
        CONTRADICTS,
        "one run",
        ("Code size", "16,630 in train_seed42.log", "20,000 in train_seed314.log"),
    ),
    Miss(
        "M3",
        valid_with(
            lambda folder: dumped(
                folder,
                SCRIPT_LINES,
                [SCRIPT_LINES[0], *SCRIPT_LINES[1:]][:2]
                + ['num_layers = int(os.environ.get("NUM_LAYERS", 9))', *SCRIPT_LINES[3:]],
            )
        ),
        CONTRADICTS,
        "source",
        ("lines differ", "NUM_LAYERS 9 -> 11", "train_gpt.py"),
    ),
    Miss(
        "M3",
        valid_with(
            lambda folder: dumped(folder, SCRIPT_LINES, [*SCRIPT_LINES[:3], "dropout = 0.0", *SCRIPT_LINES[4:]])
        ),
        CONTRADICTS,
        "source",
        ("dropout 0.0 -> 0.1",),
    ),
    Miss(
        "M3",
        valid_with(lambda folder: dumped(folder, ["import math", "def other():", " pass"], SCRIPT_LINES)),
        CONTRADICTS,
        "source",
        ("lines differ",),
    ),
    Miss(
        "M4",
        one_log(runs_log(1.21, 1.22, 1.2), val_bpb=1.2),
        CONTRADICTS,
        "C4-c",
        ("3 runs", "train.log", "last counts"),
    ),
    Miss(
        "M4",
        one_log(runs_log(1.19, 1.21), val_bpb=1.19),
        CONTRADICTS,
        "M-e",
        ("earlier run", "1.21"),
    ),
    Miss(
        "M4",
        one_log("".join(folders.modern_log(5, bpb) for bpb in (1.08, 1.09))),
        CONTRADICTS,
        "C4-c",
        ("2 runs of seed 5", "1.08", "1.09"),
    ),
    Miss(
        "M4",
        one_log(
            "seed: 3\n" + "".join(f"quantized_ttt val_loss:2.{n} val_bpb:1.0{n}\n" for n in (51, 58)), val_bpb=1.058
        ),
        CONTRADICTS,
        "C4-c",
        ("2 times", "last counts"),
    ),
    Miss(
        "M5",
        one_log(folders.early_log(1337, 1.2), "train_seed0.log"),
        CONTRADICTS,
        "C4-d",
        ("states seed 1337", "its name says 0", "train_seed0.log:7"),
    ),
    Miss(
        "M5", one_log(folders.modern_log(42, 1.08), "log-seed_7.txt"), CONTRADICTS, "C4-d", ("states seed 42", "says 7")
    ),
    Miss(
        "M5",
        one_log(folders.modern_log(42, 1.08), "run_s7.log", seeds=[7]),
        CONTRADICTS,
        "C4-d",
        ("states seed 42", "says 7"),
    ),
    Miss(
        "M6",
        valid_with(lambda folder: ship(folder, "exec(open('real_train.py').read())".ljust(74), real_train__py=50_000)),
        CONTRADICTS,
        "sizes agree",
        ("74 bytes", "real_train.py 50,000", "50,074 as shipped"),
    ),
    Miss(
        "M6",
        valid_with(lambda folder: ship(folder, "import runpy; runpy.run_path('impl.txt')\n", impl__txt=200_000)),
        BREAKS,
        "B-a",
        ("impl.txt 200,000", "not counted"),
    ),
    Miss(
        "M6",
        valid_with(lambda folder: ship(folder, ZLIB_B64, helper__py=40_000, kernel__cpp=9_000)),
        CONTRADICTS,
        "sizes agree",
        ("helper.py 40,000", "kernel.cpp 9,000"),
    ),
    Miss(
        "M6",
        valid_with(lambda folder: ship(folder, LZMA_B85, helper__py=99_000, native__cu=9_000)),
        BREAKS,
        "B-a",
        ("helper.py 99,000",),
    ),
    Miss(
        "M6",
        valid_with(
            lambda folder: ship(folder, "import subprocess\nsubprocess.run(['python', 'inner.py'])\n", inner__py=30_000)
        ),
        CONTRADICTS,
        "sizes agree",
        ("inner.py 30,000",),
    ),
    Miss(
        "M6",
        valid_with(
            lambda folder: ship(folder, "import importlib\nimportlib.import_module('inner')\n", inner__py=30_000)
        ),
        CONTRADICTS,
        "sizes agree",
        ("inner.py 30,000",),
    ),
]


def stamped(prefix: str, text: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def misnamed(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for old, new in zip(names[::2], names[1::2], strict=True):
            (folder / old).rename(folder / new)

    return change


STEP_SCORE = "step:13780/20000 val_loss:2.0606 val_bpb:1.2172"
MISSES += [
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
