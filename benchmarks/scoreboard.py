"""Bits per byte of val at a given number of bytes: golf, primed compressors, Kneser-Ney, a plain GPT. ``--help``

All code val as one stream in its order, on this machine. The bytes are those of the weights, or of the compressed
prime, and of the code that is not a library. Whatever can be chosen is chosen on dev. Rows are kept in --work by a
digest of their inputs, so that the command can be stopped and given again; it writes ``scoreboard.json`` and two
pictures into --results. The rows that a ``scoreboard.json`` of the same splits has there, and that this command does
not measure, stay as they are. The compressors need: pip install -e '.[bench]'
"""

import argparse
import sys
import uuid
from pathlib import Path

import hardware
import scoreboard_jobs
import scoreboard_report
import torch
from compressors import COMPRESSORS
from golf_runs import GolfCoder, GolfRun, TextCodecCoder
from scoreboard_coders import CompressorCoder, GptCoder, KneserNeyCoder
from scoreboard_data import ScoreboardData
from scoreboard_jobs import NOT_RUN, Coder, Job, RowCache

from golf.artifacts import io
from golf.errors import GolfError, InputError

LIMITS = (250_000, 500_000, 1_000_000, 2_000_000)  # bytes
BASELINE_LIMIT = 1_000_000  # of the plain GPT, of golf encode and of the picture over training time
MINUTES = (1.0, 2.5, 5.0, 10.0)
CODERS = ("golf", "encode", *COMPRESSORS, "kn", "gpt")


def main() -> int:
    args = parse_arguments()
    try:
        return run_child(args) if args.child else run_all(args)
    except GolfError as error:
        print(f"scoreboard: {error}", file=sys.stderr)
        return 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run", type=Path, default=Path(), help="folder of the default run: params.yaml and artifacts/"
    )
    parser.add_argument(
        "--more-runs", nargs="*", type=Path, default=[], metavar="FOLDER",
        help="runs of other profiles on the same splits; for each size the run best on dev is golf's",
    )  # fmt: skip
    parser.add_argument(
        "--coders", nargs="+", choices=CODERS, default=CODERS, metavar="CODER", help=f"of {CODERS} (all)"
    )
    parser.add_argument("--limits", nargs="*", type=int, default=LIMITS, help="bytes of model and code (%(default)s)")
    parser.add_argument("--baseline-limit", type=int, default=BASELINE_LIMIT, help="of gpt and encode (%(default)s)")
    parser.add_argument("--minutes", nargs="*", type=float, default=MINUTES, help="of training (%(default)s)")
    parser.add_argument("--gpt-seconds", type=float, help="training budget of the plain GPT (that of the default run)")
    parser.add_argument("--tune-frac", type=float, default=0.2, help="of that, for each short run (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/scoreboard"), help="folder of the cache (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="(%(default)s)")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)  # phase, key, folder, file for the result
    args = parser.parse_args()
    args.work = args.work.resolve()  # stages run in folders below it
    return args


def list_jobs(args: argparse.Namespace) -> list[Job]:
    jobs = []
    for coder in args.coders:
        if coder in COMPRESSORS:
            jobs.append(Job(coder, None))
        limits = {args.baseline_limit} & set(args.limits) if coder in ("encode", "gpt") else args.limits
        jobs += [Job(coder, limit) for limit in limits]
    return jobs + [
        Job(coder, args.baseline_limit, minutes)
        for minutes in args.minutes
        for coder in ("golf", "gpt")
        if coder in args.coders
    ]


def make_coder(name: str, args: argparse.Namespace, data: ScoreboardData, runs: list[GolfRun]) -> Coder:
    if name == "golf":
        return GolfCoder(data, runs)
    if name == "encode":
        return TextCodecCoder(data, runs[0])
    if name == "kn":
        return KneserNeyCoder(data)
    if name == "gpt":
        find_budget = runs[0].read_train_s if args.gpt_seconds is None else lambda: args.gpt_seconds
        return GptCoder(data, runs[0].cfg, args.work, find_budget, args.tune_frac)
    return CompressorCoder(name, data, args.work)


def open_runs(args: argparse.Namespace) -> tuple[ScoreboardData, list[GolfRun]]:
    """The splits of the default run, and all runs. Raises InputError if another run has other splits."""
    runs = [GolfRun("default", args.run), *(GolfRun(folder.resolve().name, folder) for folder in args.more_runs)]
    if len({run.name for run in runs}) < len(runs):
        raise InputError(f"--more-runs: two folders have the same name, or one is named default: {args.more_runs}")
    data = ScoreboardData(args.run / "artifacts/fetch")
    for run in runs[1:]:
        if ScoreboardData(run.artifacts / "fetch").digests() != data.digests():
            raise InputError(f"--more-runs {run.folder}: its splits are not those of {args.run}; run fetch as there")
    return data, runs


def run_child(args: argparse.Namespace) -> int:
    phase, key, folder, result_path = args.child
    data, runs = open_runs(args)
    job = next(job for job in list_jobs(args) if job.key == key)
    scoreboard_jobs.run_phase(make_coder(job.coder, args, data, runs), job, phase, Path(folder), Path(result_path))
    return 0


def run_all(args: argparse.Namespace) -> int:
    data, runs = open_runs(args)
    cache, run_id = RowCache(args.work / "rows.jsonl"), uuid.uuid4().hex
    command = [sys.executable, __file__, *sys.argv[1:], "--child"]
    rows, n_failed = [], 0
    for job in list_jobs(args):
        coder = make_coder(job.coder, args, data, runs)
        job_rows = scoreboard_jobs.run_job(job, coder, cache, args.work, command, run_id)
        rows += job_rows
        for row in job_rows:
            print(scoreboard_report.format_line(job.key, row), flush=True)
            n_failed += row["status"] == NOT_RUN
    corpus = data.describe()
    result = hardware.describe_machine(torch.device("cpu")) | {
        "corpus": corpus,
        "reference": ["golf", runs[0].cfg.evaluate.headline],
        "rows": scoreboard_report.merge_rows(args.results, corpus, rows),
    }
    io.write_json(args.results / scoreboard_report.RESULTS_FILE, result)
    for path in scoreboard_report.draw_pictures(args.results):
        print(path)
    print(scoreboard_report.render_table(args.results))
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
