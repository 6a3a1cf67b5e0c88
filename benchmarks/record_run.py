"""The record model on one GPU or on two CPU cores, from text to a file of 16,000,000 bytes. See ``--help``.

    PYTHONPATH=. python benchmarks/record_run.py --device cpu --text FOLDER --tokenizer SP8192.model --minutes 120 \\
        --state FOLDER --out benchmarks/results/record_cpu

Runs every stage as its own command in --state, on the record profile changed by ``record_settings``: one rank, smaller
batches, and the row_column grid with the ANS coder, which fills the limit. After that, on a GPU, it measures bytes
against divergence of the record's grid and golf's (``rate_distortion.py``), and on a CPU the coder on the file's codes
(``codec.py``), every recipe (``record_recipes.py``) and ``golf report``. The same command given again goes on with what
is missing, in training too; --state is $GOLF_RESUME_DIR/record_run where that is set, and else a temporary folder.

Results go to --out after each stage, so that an interrupted run leaves what it has: params.yaml, the training log, the
table of tensors, the verdict, and at last record_run.json; model.golf and report.html only where --state is temporary,
otherwise they stay there. The tables of ``record_report`` are printed. record_run.json holds

    note, profile, text     what the figures are of: undertrained weights, of the folder with this name
    machine, slug, ...      ``hardware.describe_machine``
    changes                 each key with another value than the profile's: key, profile, here, reason
    data                    documents, tokens and bytes of each split, and the tokenizer
    steps, train_seconds, train, metrics, sizes   as the stages wrote them, absent where they did not run
    loss                    train: rows of log.csv; dev: rows of dev.csv
    verdict                 summary, and counts of the checks by their status
    stages                  by stage and script: status, seconds, cpu_seconds, peak_bytes and starts (``read_usage``);
                            null where it did not run
    forecast_for, calibration, forecast   machine of golf preflight, its calibration, and figure, unit, forecast and
                            measured
    coder                   rows of ``codec.py``, null without
    recipes                 the content of ``record_recipes``' --json, null without
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import record_report
import record_results
import record_settings
from record_stages import ROOT, ProfileRun, Script, hash_files, log

from golf.artifacts import io
from golf.errors import GolfError, InputError
from golf.pipeline import lock

COLLECTED_FILES = {  # name in --out: path in the run's folder
    "params.yaml": "params.yaml",
    "train_log.csv": "artifacts/train/log.csv",
    "tensors.csv": "artifacts/quantize/tensors.csv",
    "verdict.json": "artifacts/evaluate/verdict.json",
}
WEIGHTS = {"model.golf": "artifacts/compress/model.golf"}
EXPECTED_FILES = {
    "--profile": "record, tiny or a file like params.yaml",
    "--tokenizer": "train or a SentencePiece model",
}
TOKENIZER_LINK = "tokenizer.model"
RECIPES = ("row", "rows")  # on a GPU, with our coder: Brotli 11 would take a minute for each setting
CURVE_TOKENS = {"cuda": 100_000, "cpu": 24_576}
CURVE_SECONDS = {"cuda": 180.0, "cpu": None}
DIVERGENCE_SOURCES = ("divergence", "rate_curves", "rate_distortion", "run_artifacts")
RECIPE_SOURCES = (*DIVERGENCE_SOURCES, "record_recipes", "rate_control", "trellis")
WEIGHED_STAGES = ("fetch", "train", "ema", "calibrate")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that the stage ends too
    resume_dir = os.environ.get(lock.RESUME_DIR_ENV)
    state = args.state or (Path(resume_dir) / "record_run" if resume_dir else None)
    try:
        if state is not None:
            with lock.hold_file_lock(state / "lock"):
                return run_all(args, state, {})
        with tempfile.TemporaryDirectory(prefix="record_run.") as scratch:
            return run_all(args, Path(scratch), WEIGHTS)
    except GolfError as error:
        print(f"record_run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("record_run: interrupted; with --state, the same command goes on from here", file=sys.stderr)
        return 130


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="folder of .txt and .jsonl files, plain or compressed")
    parser.add_argument("--tokenizer", default="train", help="a SentencePiece model; train: train one (%(default)s)")
    parser.add_argument("--minutes", type=float, default=5, help="of training, without calibration (5)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(%(default)s)")
    parser.add_argument(
        "--state", type=Path, help="folder of what has run; default $GOLF_RESUME_DIR/record_run, or a temporary folder"
    )
    parser.add_argument("--profile", default="record", help="record, a file, or tiny: 42,000 parameters (%(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more changes to the profile")
    parser.add_argument("--curve-tokens", type=int, help="of val, for the recipes; 0: none (100,000; cpu: 24,576)")
    parser.add_argument("--curve-seconds", type=float, help="limit for the recipes (180; cpu: none)")
    parser.add_argument("--json", type=Path, help="also write the measurements here, for docs/performance.md")
    args = parser.parse_args(argv)
    args.curve_tokens = CURVE_TOKENS[args.device] if args.curve_tokens is None else args.curve_tokens
    args.curve_seconds = args.curve_seconds or CURVE_SECONDS[args.device]
    return args


def run_all(args: argparse.Namespace, state: Path, collected_weights: dict[str, str]) -> int:
    """Run what is missing; 0 if everything is there."""
    if not args.text.is_dir():
        raise InputError(f"--text {args.text}: not a folder; give a folder of .txt and .jsonl files")
    profile = record_settings.RECORD_PROFILE if args.profile in ("record", "tiny") else Path(args.profile)
    for option, path in (("--profile", profile), ("--tokenizer", Path(args.tokenizer))):
        if not path.is_file() and (option, args.tokenizer) != ("--tokenizer", "train"):
            raise InputError(f"{option} {path}: no such file; give {EXPECTED_FILES[option]}")
    params_tree = record_settings.make_params(profile, make_overrides(args))
    files = sorted(path.relative_to(args.text).as_posix() for path in args.text.rglob("*") if path.is_file())
    corpus, links = {"text": hash_files(args.text, files)}, {params_tree["fetch"]["path"]: args.text}
    if args.tokenizer != "train":
        corpus, links = corpus | {"tokenizer": io.sha256_file(args.tokenizer)}, links | {TOKENIZER_LINK: args.tokenizer}
    run = ProfileRun(state, params_tree, corpus=corpus, links={name: Path(path) for name, path in links.items()})
    for _ in run.run_stages():
        collect_files(run.folder, args.out, COLLECTED_FILES | collected_weights)
    outputs = {script.name: run.run_script(script) for script in list_scripts(args, state, run.device.type)}
    names = {"profile": args.profile if args.profile == "tiny" else run.cfg.profile, "text": args.text.name}
    result = record_results.describe_run(run, names, record_settings.list_changes(profile, params_tree))
    if (path := outputs.get("coder")) is not None:
        (result["coder"],) = io.read_json(path)["files"].values()
    if (path := outputs.get("recipes")) is not None:
        result["recipes"] = io.read_json(path)
    if (path := outputs.get("rate-distortion")) is not None:
        shutil.copyfile(path, args.out / path.name)
    if (path := outputs.get("report")) is not None:
        if collected_weights:
            shutil.copyfile(path, args.out / path.name)
        log(f"report: {args.out / path.name if collected_weights else path}")
    io.write_json(args.out / "record_run.json", result)
    print(record_report.render_tables(result))
    is_complete = all(row["status"] == "ok" for row in run.rows.values())
    if args.json and is_complete:
        io.write_json(args.json, result)
    return 0 if is_complete else 1


def make_overrides(args: argparse.Namespace) -> dict[str, object]:
    """The changes for one rank, for the device and for a tiny model, then the other arguments, then --set."""
    overrides, own = dict(record_settings.PARAM_OVERRIDES), record_settings.parse_settings(args.set)
    if args.device == "cpu":
        overrides |= record_settings.CPU_OVERRIDES
        if not {"fetch.val_percent", "fetch.dev_percent"} <= own.keys():
            percent = record_settings.compute_held_out_percent(args.text)
            overrides |= {"fetch.val_percent": percent, "fetch.dev_percent": percent}
    if args.profile == "tiny":
        overrides |= record_settings.TINY_OVERRIDES
    overrides |= {"fetch.path": "texts", "fetch.tokenizer": "train" if args.tokenizer == "train" else TOKENIZER_LINK}
    reserve_s = float(str((overrides | own)["train.reserve_s"]))
    return overrides | {"train.limit_s": 60 * args.minutes + reserve_s} | own


def list_scripts(args: argparse.Namespace, state: Path, device_type: str) -> list[Script]:
    """What is measured on the results of the stages; a script's code and arguments decide whether it runs again.

    device_type: on which the divergence is measured that belongs to a GPU's run.
    """
    scripts, limit = [], {"limit_s": args.curve_seconds}
    tokens = "--tokens", str(args.curve_tokens)
    if args.device == "cpu":
        report = "-m", "golf", "report", "--out", "{output}"
        scripts.append(Script("report", report, "report.html", sources=("golf/cli/report/command.py",)))
        coder = locate("codec"), "artifacts/quantize/codes.safetensors", "--json", "{output}"
        scripts.append(Script("coder", coder, "coder.json", ("quantize",), name_sources("codec")))
    if args.curve_tokens:
        name = "recipes" if args.device == "cpu" else "rate-distortion"
        script = "record_recipes" if args.device == "cpu" else "rate_distortion"
        options = () if args.device == "cpu" else ("--device", device_type, "--codecs", "ans", "--recipes", *RECIPES)
        cache = "--cache", str(state.resolve() / f"{script}.jsonl")
        arguments = locate(script), "artifacts", *tokens, *cache, "--json", "{output}", *options
        sources = name_sources(*(RECIPE_SOURCES if args.device == "cpu" else DIVERGENCE_SOURCES))
        scripts.append(Script(name, arguments, f"{script}.json", WEIGHED_STAGES, sources, **limit))
    return scripts


def locate(script: str) -> str:
    return str(ROOT / "benchmarks" / f"{script}.py")


def name_sources(*scripts: str) -> tuple[str, ...]:
    return tuple(f"benchmarks/{script}.py" for script in scripts)


def collect_files(folder: Path, out_dir: Path, files: dict[str, str]) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        if (folder / path).is_file():
            shutil.copyfile(folder / path, out_dir / name)


if __name__ == "__main__":
    sys.exit(main())
