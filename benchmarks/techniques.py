"""What each optional technique is worth: alone, on or off, against the default.

``PYTHONPATH=. python benchmarks/techniques.py --help``

For each seed and text a default is trained for ``--steps`` steps, with the time constants of ``--profile`` scaled to
them; then each technique runs with the same seed and steps. What acts after training shares the trained default. Every
model is quantized to the same bytes, which leave room for the code of any technique, and scored on dev, in sliding
windows and in the ttt mode. Stages are kept in --state by a digest of their parameters, code and inputs, so the
command can be stopped at any time and given again. It writes ``techniques.json`` into --results after each row.
"""

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from benchmarks import hardware, techniques_report
from benchmarks.techniques_list import BOS, DEFAULT, TECHNIQUES, Technique
from benchmarks.techniques_report import Measurement
from benchmarks.techniques_runs import SCORE, StageError, StageRunner, copy_source
from golf.artifacts import io, source_deps
from golf.compression import code_archive
from golf.data.sources import text_files
from golf.data.sources.package_docs import PACKAGES
from golf.data.tokenizer import Tokenizer
from golf.distributed.packages import get_installed_version
from golf.errors import GolfError, InputError

SEEDS = (314, 42, 999)
STEPS = 150
SAMPLE_BYTES = 10_000_000  # of another text
_FULL_STEPS = 1_500  # of the profile's time constants
_SMALL_SPLITS = {  # of such a sample, as large as those of the default text
    "fetch.source": "files",
    "fetch.path": "texts",
    "fetch.dev_percent": 2.5,
    "fetch.val_percent": 1.0,
}
_PREDICTOR = "golf/inference/predictor.py"
_OVER_LIMIT = "compress: compress.limit_bytes:"


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that the stage ends too
    try:
        return run_all(args)
    except GolfError as error:
        print(f"techniques: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("techniques: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the stages that have run")
    parser.add_argument(
        "--text", nargs="*", default=[], metavar="NAME=FOLDER", help="other texts, besides the default one"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="techniques, as docs/techniques.md has them (all)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other parameters of all runs")
    parser.add_argument(
        "--sample-bytes", type=int, default=SAMPLE_BYTES, help="of another text that are used (%(default)s)"
    )
    parser.add_argument("--profile", type=Path, default=Path("profiles/laptop.yaml"), help="(%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="(%(default)s)")
    args = parser.parse_args()
    args.state = args.state.resolve()  # stages run in folders below it
    return args


def run_all(args: argparse.Namespace) -> int:
    source = copy_source(args.state)
    profile = YAML(typ="safe", pure=True).load(args.profile.read_text(encoding="utf-8"))
    runners = make_runners(args, source, profile["fetch"])
    base = scale_to_steps(args.steps) | {"compress.code_reserve_bytes": weigh_all_code(source)}
    base |= dict(parse_setting(setting) for setting in args.set)
    measured: list[Measurement] = []
    facts = hardware.describe_machine(torch.device("cpu")) | {"steps": args.steps, "profile": args.profile.stem}
    for seed in args.seeds:
        for text, (runner, settings) in runners.items():
            params = with_settings(profile, base | settings | {"train.seed": seed})
            bos = Tokenizer.open(runner.run("fetch", params).folder / "tokenizer.model").bos
            for technique in list_techniques(args.only):
                row, is_new = measure(runner, technique, params, bos, text, seed)
                measured.append(row)
                if is_new:
                    write_results(args.results, facts, measured)
                    print(techniques_report.format_line(row, measured), flush=True)
    write_results(args.results, facts, measured)
    print(techniques_report.render_table(args.results))
    return 1 if any(row.reason for row in measured) else 0


def measure(
    runner: StageRunner, technique: Technique, params: dict[str, dict[str, Any]], bos: int, text: str, seed: int
) -> tuple[Measurement, bool]:
    """(the row, whether anything ran for it). A failure is a row with its reason."""
    own = {key: bos if value is BOS else value for key, value in technique.settings.items()}
    started_at, reason, is_new = time.time(), "", False
    for attempt in technique.attempts:
        changed = with_settings(params, own | dict(attempt))
        try:
            packed = runner.run("compress", changed)
            scores = {mode: runner.run(SCORE, changed, mode=mode) for mode in technique.modes}
        except StageError as error:
            reason, is_new = str(error), True
            if reason.startswith(_OVER_LIMIT):
                continue
            break
        sizes = io.read_json(packed.folder / "sizes.json")
        timing = io.read_json(runner.run("train", changed).folder / "timing.json")
        is_new = packed.is_new or any(result.is_new for result in scores.values())
        row = Measurement(
            key=technique.key,
            text=text,
            seed=seed,
            folders={mode: result.folder for mode, result in scores.items()},
            model_bytes=sizes["payload_bytes"],
            code_bytes=sizes["code_bytes"],
            train_s=timing["train_seconds"],
            wall_s=time.time() - started_at,
        )
        return row, is_new
    return Measurement(key=technique.key, text=text, seed=seed, reason=reason), is_new


def make_runners(
    args: argparse.Namespace, source: Path, fetch: dict[str, Any]
) -> dict[str, tuple[StageRunner, dict[str, Any]]]:
    """By the name of the text: what runs its stages, and its parameters. Raises InputError for a faulty --text.

    fetch: the section of the profile; what it reads is the default text, named after its source.
    """
    versions = {package: str(get_installed_version(package)) for package in PACKAGES}
    runners: dict[str, tuple[StageRunner, dict[str, Any]]] = {}

    def add(name: str, path: Path, n_bytes: int, settings: dict[str, Any]) -> None:
        folder = sample_text(path, n_bytes, args.state / "texts" / name)
        corpus = {"sha256": io.sha256_file(folder / "sample.jsonl")}
        runners[name] = (StageRunner(args.state, source, corpus=corpus, links={"texts": folder}), settings)

    if fetch["source"] == "files":
        add("files", Path(fetch["path"]), sys.maxsize, {"fetch.path": "texts"})
    else:
        runners[fetch["source"]] = (StageRunner(args.state, source, corpus=versions, links={}), {})
    for argument in args.text:
        name, _, path = argument.partition("=")
        if not path or name in runners:
            raise InputError(f"--text: expected NAME=FOLDER, each name once and none {fetch['source']}, got {argument}")
        add(name, Path(path), args.sample_bytes, _SMALL_SPLITS)
    return runners


def sample_text(path: Path, n_bytes: int, folder: Path) -> Path:
    """Write about ``n_bytes`` of the documents at ``path`` below ``folder``, by the order of their digests; where."""
    file = folder / f"{hashlib.sha256(f'{path.resolve()} {n_bytes}'.encode()).hexdigest()[:12]}" / "sample.jsonl"
    if not file.is_file():
        texts = {document.text for document in text_files.read_documents(path)[0]}
        chosen, total = [], 0
        for text in sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest()):
            if total >= n_bytes:
                break
            chosen.append(text)
            total += len(text.encode())
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in chosen]
        io.write_bytes(file, "".join(lines).encode())
    return file.parent


def list_techniques(only: list[str] | None) -> Iterator[Technique]:
    """The default first. Raises InputError for a key that none has."""
    keys = {technique.key for technique in TECHNIQUES}
    if unknown := set(only or ()) - keys:
        raise InputError(f"--only: {', '.join(sorted(unknown))}: no such technique; docs/techniques.md has them")
    yield DEFAULT
    yield from (technique for technique in TECHNIQUES if only is None or technique.key in only)


def scale_to_steps(steps: int) -> dict[str, Any]:
    """The profile's training for ``steps`` steps without a limit in time: its averages and warm-ups shrink with it."""
    decay = round(max(0.0, 1 - 0.02 * _FULL_STEPS / steps), 4)
    return {
        "train.limit_s": None,
        "train.reserve_s": 0.0,
        "train.steps": steps,
        "train.checkpoint_every": None,
        "train.dev_every": None,
        "train.ema_snapshots": 1,
        "train.ema_decays": [decay],
        "ema.decay": decay,
        "train.muon_momentum_warmup_steps": round(100 * steps / _FULL_STEPS),
        "train.context_warmup_steps": max(1, round(32 * steps / _FULL_STEPS)),
    }


def weigh_all_code(source: Path) -> int:
    """The bytes of the predictor with every optional module, to the next thousand."""
    size = len(code_archive.pack(source_deps.find_import_closure(_PREDICTOR, root=source), source))
    return -(-size // 1000) * 1000


def with_settings(params: dict[str, dict[str, Any]], settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy with other values of dotted keys. Raises InputError for a key that the profile lacks."""
    copy = {name: dict(section) if isinstance(section, dict) else section for name, section in params.items()}
    for dotted, value in settings.items():
        section, _, key = dotted.partition(".")
        if not isinstance(copy.get(section), dict) or key not in copy[section]:
            raise InputError(f"{dotted}: the profile has no such key")
        copy[section][key] = value
    return copy


def parse_setting(setting: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as YAML has it."""
    key, _, value = setting.partition("=")
    return key, YAML(typ="safe", pure=True).load(value)


def write_results(folder: Path, facts: dict[str, Any], measured: list[Measurement]) -> None:
    io.write_json(folder / techniques_report.RESULTS_FILE, techniques_report.summarize(facts, measured))


if __name__ == "__main__":
    sys.exit(main())
