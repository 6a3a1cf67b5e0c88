"""Write the generated blocks of README.md and docs/: ``python -m tools.docs``; ``--check`` only compares.

A block stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``, each on a line of its own. Its source is code, or a
file that is committed. ``CODE_BLOCKS`` and ``RESULT_BLOCKS`` list every block with its file and its source.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import docs_cli, docs_config, docs_results

ROOT = Path(__file__).parents[1]
METRICS_FILES = {stage: f"artifacts/{stage}/metrics.json" for stage in ("fetch", "train", "evaluate")}
Metrics = dict[str, dict[str, Any]]


class BlockError(Exception):
    """A page without its markers, or a block that differs from its source."""


def render_gallery() -> str:
    """Return the table of violations, what reports each, and the compliant predictors."""
    tests_dir = str(ROOT / "tests")
    if tests_dir not in sys.path:
        sys.path.append(tests_dir)  # the gallery is a package of its own, copied into projects as ``gallery``
    from gallery import markdown_table

    return markdown_table.render_markdown()


def render_example() -> str:
    """Return the example of a predictor, which the tests evaluate."""
    source = (ROOT / "tests" / "helpers" / "example_predictor.py").read_text(encoding="utf-8")
    return f"```python\n{source.strip()}\n```\n"


def render_performance() -> str:
    """Return the table of speeds in ``benchmarks/results``."""
    from benchmarks import report

    return report.render_table(ROOT / "benchmarks" / "results")


def render_scoreboard() -> str:
    """Return the table of golf and its rivals at equal bytes, in ``benchmarks/results``."""
    from benchmarks import scoreboard_report

    return scoreboard_report.render_table(ROOT / "benchmarks" / "results")


def render_techniques() -> str:
    """Return the table of what each technique is worth, in ``benchmarks/results``."""
    from benchmarks import techniques_report

    return techniques_report.render_table(ROOT / "benchmarks" / "results")


CODE_BLOCKS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/configuration.md", "configuration", docs_config.render_sections),
    ("docs/cli.md", "cli", docs_cli.render_commands),
    ("README.md", "cli", docs_cli.render_summary),
    ("docs/evaluation-rules.md", "example", render_example),
    ("docs/gallery.md", "gallery", render_gallery),
    ("docs/performance.md", "performance", render_performance),
    ("docs/results.md", "scoreboard", render_scoreboard),
    ("docs/results.md", "techniques", render_techniques),
)
RESULT_BLOCKS: tuple[tuple[str, str, Callable[[Metrics], str]], ...] = (
    ("README.md", "results", docs_results.render_summary),
    ("README.md", "run-output", docs_results.render_run_output),
    ("docs/results.md", "results", docs_results.render_details),
)


def main(argv: list[str] | None = None) -> int:
    """Write all blocks, or compare them with ``--check``. Returns 1 after one message for each page at fault."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 when a block differs")
    args = parser.parse_args(argv)
    problems = check_blocks() if args.check else write_blocks()
    print("\n".join(problems) or "README.md and docs/: all generated blocks are up to date")
    return 1 if problems else 0


def write_blocks() -> list[str]:
    """Write every block from its source, run figures from the working tree. Returns the pages without markers."""
    metrics = read_metrics()
    problems = []
    blocks = [*CODE_BLOCKS, *((file, name, lambda r=render: r(metrics)) for file, name, render in RESULT_BLOCKS)]
    for file, name, render in blocks:
        path = ROOT / file
        try:
            path.write_text(replace_block(path.read_text(encoding="utf-8"), name, render(), file), encoding="utf-8")
        except BlockError as error:
            problems.append(str(error))
    return problems


def check_blocks() -> list[str]:
    """Return one message for each block that differs from its source.

    The figures of a run may be those of the last commit or of the working tree, so that a run of one's own, which
    changes metrics.json, leaves the pages valid. In a folder without Git they are compared with nothing.
    """
    problems = [problem for file, name, render in CODE_BLOCKS for problem in _compare(file, name, render())]
    committed = read_committed_metrics()
    if committed is not None:
        for file, name, render_result in RESULT_BLOCKS:
            result_problems = _compare(file, name, render_result(committed))
            problems += result_problems and _compare(file, name, render_result(read_metrics()))
    return problems


def _compare(file: str, name: str, expected: str) -> list[str]:
    try:
        block = extract_block((ROOT / file).read_text(encoding="utf-8"), name, file)
    except BlockError as error:
        return [str(error)]
    if block == expected:
        return []
    return [f"{file}: the block <!-- {name} --> differs from its source; run python -m tools.docs"]


def _block_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


def extract_block(text: str, name: str, file: str) -> str:
    """Return what stands between the markers. Raises BlockError without them."""
    match = _block_pattern(name).search(text)
    if match is None:
        raise BlockError(f"{file}: needs <!-- {name} --> and <!-- /{name} --> on lines of their own")
    return match[0]


def replace_block(text: str, name: str, content: str, file: str) -> str:
    """Return ``text`` with ``content`` between the markers. Raises BlockError without them."""
    extract_block(text, name, file)
    return _block_pattern(name).sub(lambda _: content, text, count=1)


def read_metrics() -> Metrics:
    """Read metrics.json of each stage as in the working tree."""
    return {stage: json.loads((ROOT / file).read_text(encoding="utf-8")) for stage, file in METRICS_FILES.items()}


def read_committed_metrics() -> Metrics | None:
    """Read the same as of the last commit; None where the folder is no Git checkout."""
    metrics = {}
    for stage, file in METRICS_FILES.items():
        command = ["git", "-C", str(ROOT), "show", f"HEAD:./{file}"]
        try:
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        if completed.returncode:
            return None
        metrics[stage] = json.loads(completed.stdout)
    return metrics


if __name__ == "__main__":
    sys.exit(main())
