"""Keep dvc.yaml's deps equal to the source files that each stage depends on: ``python -m tools.dvc_deps [--check]``.

Editing a file then reruns exactly the stages that use it.
"""

import argparse
import re
import sys
from pathlib import Path

from golf.artifacts import io, source_deps
from golf.errors import GolfError
from golf.pipeline import os_errors

DVC_FILE = Path("dvc.yaml")
_STAGE_LINE = re.compile(r"  (\w+):")
_DEPS_LINE = "    deps:"
_KEY_LINE = re.compile(r"    \w")
_SOURCE_LINE = re.compile(r"      - (\S+\.py)")


def parse_declared_deps(text: str) -> dict[str, list[str]]:
    """Return the .py files in each stage's deps."""
    deps_by_stage: dict[str, list[str]] = {}
    stage, is_in_deps = "", False
    for line in f"\n{text}".partition("\nstages:\n")[2].splitlines():
        if re.match(r"\w", line):  # the next top-level key
            break
        if match := _STAGE_LINE.fullmatch(line):
            stage, is_in_deps = match[1], False
            deps_by_stage[stage] = []
        elif _KEY_LINE.match(line):
            is_in_deps = line == _DEPS_LINE
        elif is_in_deps and stage and (match := _SOURCE_LINE.fullmatch(line)):
            deps_by_stage[stage].append(match[1])
    return deps_by_stage


def check_deps() -> None:
    """Raise GolfError naming each stage whose declared files differ from those it depends on."""
    problems = []
    for stage, declared in parse_declared_deps(DVC_FILE.read_text(encoding="utf-8")).items():
        required = set(source_deps.list_stage_sources(stage))
        missing, unused = sorted(required - set(declared)), sorted(set(declared) - required)
        if missing or unused:
            problems.append(f"  {stage}: missing {missing}, unused {unused}")
    if problems:
        raise GolfError(
            f"{DVC_FILE}: the deps differ from what the stages import; update them with: python -m tools.dvc_deps\n"
            + "\n".join(problems)
        )


def write_deps() -> None:
    """Write each stage's source files, sorted, at the beginning of its deps; the rest of dvc.yaml stays as it is."""
    out_lines = []
    stage, is_in_deps = "", False
    for line in DVC_FILE.read_text(encoding="utf-8").splitlines():
        if match := _STAGE_LINE.fullmatch(line):
            stage = match[1]
        if _KEY_LINE.match(line):
            is_in_deps = line == _DEPS_LINE
        if is_in_deps and _SOURCE_LINE.fullmatch(line):
            continue
        out_lines.append(line)
        if line == _DEPS_LINE and stage:
            out_lines += [f"      - {path}" for path in source_deps.list_stage_sources(stage)]
    io.write_bytes(DVC_FILE, ("\n".join(out_lines) + "\n").encode())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.dvc_deps", description="Update the deps in dvc.yaml.")
    parser.add_argument("--check", action="store_true", help="only check the deps; exit with 1 if they are out of date")
    try:
        if not parser.parse_args(argv).check:
            write_deps()
        check_deps()
    except GolfError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(os_errors.describe_os_error(error))
    print(f"{DVC_FILE}: every stage lists its source files")


if __name__ == "__main__":
    main()
