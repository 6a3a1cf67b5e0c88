"""Changes of valid submission folders, from which the cases of the review's tests are made."""

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


def stamped(prefix: str, text: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def misnamed(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for old, new in zip(names[::2], names[1::2], strict=True):
            (folder / old).rename(folder / new)

    return change
