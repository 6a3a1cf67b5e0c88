"""The record model on one GPU, from text to a file of 16,000,000 bytes. ``python benchmarks/record_run.py --help``

Every stage as its own command in a scratch copy of this working tree, with the record's profile but for what CHANGES
says: one rank, smaller batches, and the column grid with the entropy coder, which fills the limit. Brought back into
--out after each stage, so that a run that is cut off leaves what it has: params.yaml, the log of training, codes by
tensor, model.golf, metrics and verdict, and in the end the rate-distortion table of the same weights.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hardware
import torch
from ruamel.yaml import YAML

from golf.ground import params, store
from golf.ground.errors import ParamsError

ROOT = Path(__file__).parents[1]
STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
COPIED = ("golf", "stages", "dvc.yaml")
BROUGHT = {  # name in --out: path in the scratch copy
    "params.yaml": "params.yaml",
    "train_log.csv": "artifacts/train/log.csv",
    "tensors.csv": "artifacts/quantize/tensors.csv",
    "model.golf": "artifacts/compress/model.golf",
    "verdict.json": "artifacts/evaluate/verdict.json",
}
CHANGES = {
    "fetch.source": "files",
    "fetch.val_percent": 1.0,
    "fetch.dev_percent": 0.5,
    "fetch.shard_tokens": 10_000_000,
    "train.ranks": 1,
    "train.reserve_s": 15.0,
    "train.batch_tokens": 196_608,
    "train.momentum_steps": 500,
    "train.checkpoint_every": None,
    "train.dev_every": 500,
    "train.dev_tokens": 65_536,
    "ttt.ranks": 1,
    "calibrate.ranks": 1,
    "calibrate.batches": 16,
    "calibrate.batch_tokens": 98_304,
    "calibrate.sensitivity_tokens": 98_304,
    "quantize.grid": "column",
    "compress.codec": "entropy",
    "evaluate.ranks": 1,
    "evaluate.limit_s": None,
}
RECIPES = ("record, entropy", "columns, rows")  # Brotli 11 takes a minute for each setting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="folder of .txt and .jsonl, plain or compressed")
    parser.add_argument("--tokenizer", default="train", help="a SentencePiece model; train: learn one (%(default)s)")
    parser.add_argument("--minutes", type=float, default=5, help="of training, calibration aside (5)")
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes back")
    parser.add_argument("--profile", type=Path, default=ROOT / "profiles" / "record.yaml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more changes of the profile")
    parser.add_argument(
        "--curve-tokens", type=int, default=100_000, help="of val, for the table; 0: no table (100,000)"
    )
    parser.add_argument("--curve-seconds", type=float, default=180, help="that the table may take (180)")
    parser.add_argument("--json", type=Path, help="also write the figures here, for README's table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="record_run.") as scratch:
        found = run(asked, Path(scratch))
    store.write_json(asked.out / "record_run.json", found)
    complete = all(stage["status"] == "ok" for stage in found["stages"].values())
    if asked.json and complete:
        store.write_json(asked.json, found)
    return 0 if complete else 1


def run(asked, work: Path) -> dict:
    """What happened and the figures. A stage that fails ends the run, and what follows is NOT-RUN."""
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, work / name)
    tree = configuration(asked.profile, changes(asked))
    with open(work / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
    chosen = params.read(work / "params.yaml")
    here = torch.device("cuda" if chosen.train.device != "cpu" and torch.cuda.is_available() else "cpu")
    done = {name: {"status": "NOT-RUN", "seconds": 0.0} for name in (*STAGES, "rate-distortion")}
    for stage in STAGES:
        done[stage] = timed([sys.executable, "-m", f"stages.{stage}"], work, None)
        bring(work, asked.out)
        if done[stage]["status"] != "ok":
            break
    else:
        if asked.curve_tokens:
            done["rate-distortion"] = curve(asked, work, here)
        else:
            del done["rate-distortion"]
    about = hardware.describe(here) | {"profile": chosen.profile, "text": asked.text.name}
    return about | figures(work) | {"stages": done}


def changes(asked) -> dict[str, object]:
    """CHANGES, what the other arguments say, and --set, which has the last word."""
    given = [pair.partition("=") for pair in asked.set]
    tokenizer = "train" if asked.tokenizer == "train" else str(Path(asked.tokenizer).resolve())
    text = {"fetch.path": str(asked.text.resolve()), "fetch.tokenizer": tokenizer}
    limit = {"train.limit_s": 60 * asked.minutes + CHANGES["train.reserve_s"]}
    return CHANGES | text | limit | {key: YAML(typ="safe", pure=True).load(value) for key, _, value in given}


def configuration(profile: Path, changed: dict[str, object]) -> dict:
    """The profile's tree with dotted keys set. Raises ParamsError for a key that it does not have."""
    tree = YAML(typ="safe", pure=True).load(profile.read_text(encoding="utf-8"))
    for dotted, value in changed.items():
        section, _, key = dotted.partition(".")
        if key not in tree.get(section, ()):
            raise ParamsError(f"--set {dotted}: no such key in {profile}; give section.key=value")
        tree[section][key] = value
    return tree


def timed(command: list[str], folder: Path, limit_s: float | None) -> dict:
    began = time.monotonic()
    try:
        code = subprocess.run(command, cwd=folder, timeout=limit_s, check=False).returncode
        status = "ok" if code == 0 else f"failed, exit code {code}"
    except subprocess.TimeoutExpired:
        status = f"NOT-RUN, outlasted {limit_s:.0f} s"
    return {"status": status, "seconds": round(time.monotonic() - began, 1)}


def bring(work: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, path in BROUGHT.items():
        if (work / path).is_file():
            shutil.copyfile(work / path, out / name)


def curve(asked, work: Path, device: torch.device) -> dict:
    """rate_distortion.json in --out: bytes against loss of these weights, the record's grid and ours."""
    script, file = ROOT / "benchmarks" / "rate_distortion.py", (asked.out / "rate_distortion.json").resolve()
    options = ["--device", device.type, "--tokens", str(asked.curve_tokens), "--json", str(file), "--only", *RECIPES]
    return timed([sys.executable, str(script), "artifacts", *options], work, asked.curve_seconds)


def figures(work: Path) -> dict:
    """Of the stages that ran: steps and seconds of training, and all that evaluate found."""
    found = {}
    if (work / "artifacts/train/metrics.json").is_file():
        trained = store.read_json(work / "artifacts/train/metrics.json")
        found |= {"steps": trained["steps"], "train_seconds": trained["seconds"], "train": trained}
    for name, path in {"metrics": "evaluate/metrics.json", "sizes": "compress/sizes.json"}.items():
        if (work / "artifacts" / path).is_file():
            found[name] = store.read_json(work / "artifacts" / path)
    return found


if __name__ == "__main__":
    sys.exit(main())
