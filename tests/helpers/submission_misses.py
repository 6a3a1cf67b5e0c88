"""Folders whose logs or sources have a defect that a review must name: kinds M1 to M6, each with variants.

A case writes a folder and gives the severity of the finding, its check, and words that it holds.
"""

import base64

from tests.helpers import submission_folders as folders
from tests.helpers.submission_changes import (
    BREAKS,
    CONTRADICTS,
    SCRIPT_LINES,
    TRACEBACK,
    Miss,
    dumped,
    gdn_log,
    one_log,
    packed,
    replace,
    runs_log,
    ship,
    valid_with,
)

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
        "M2", one_log(f"seed:7\n{TRACEBACK}", val_bpb=1.1), CONTRADICTS, "logs", ("traceback", "step 1", "no log has")
    ),
    Miss(
        "M2",
        one_log("[rank0]: Traceback (most recent call last):\n[rank0]:   x\nRuntimeError: CUDA", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("traceback before step 1", "no log has"),
    ),
    Miss(
        "M2",
        one_log("seed:7\nstep:300/9000 train_loss:2.0 train_time:9000ms\nKilled\n", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("error", "after step 300", "no log has"),
    ),
    Miss(
        "M2",
        one_log("seed:7\nstep:300/9000 train_loss:2.0 train_time:9000ms\n", val_bpb=1.1),
        CONTRADICTS,
        "logs",
        ("cut short at step 300", "no log has"),
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
                [*SCRIPT_LINES[:2], 'num_layers = int(os.environ.get("NUM_LAYERS", 9))', *SCRIPT_LINES[3:]],
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
