"""dvc.yaml lists the files that each stage's imports reach, so that editing one reruns just the stages that use it."""

import re
from pathlib import Path

from golf.artifacts import source_deps
from golf.errors import GolfError

DVC_FILE = Path("dvc.yaml")


def parse_declared_deps(text: str) -> dict[str, list[str]]:
    """The .py files under each stage's deps."""
    deps_by_stage: dict[str, list[str]] = {}
    stage, is_in_deps = None, False
    for line in f"\n{text}".partition("\nstages:\n")[2].splitlines():
        if re.match(r"\w", line):  # the next top-level key: plots, artifacts
            break
        if match := re.fullmatch(r"  (\w+):", line):
            stage, is_in_deps = match[1], False
            deps_by_stage[stage] = []
        elif re.match(r"    \w", line):
            is_in_deps = line.startswith("    deps:")
        elif is_in_deps and stage and (match := re.fullmatch(r"      - (\S+\.py)", line)):
            deps_by_stage[stage].append(match[1])
    return deps_by_stage


def check_deps() -> str:
    """Raises GolfError naming each stage whose list is not what it imports."""
    declared_deps = parse_declared_deps(DVC_FILE.read_text(encoding="utf-8"))
    problems = []
    for stage, files in declared_deps.items():
        imported_files = set(source_deps.stage_sources(stage))
        missing, unused = sorted(imported_files - set(files)), sorted(set(files) - imported_files)
        if missing or unused:
            problems.append(f"  {stage}: missing {missing}, not imported {unused}")
    if problems:
        raise GolfError(
            f"{DVC_FILE}: deps are not what the stages import; run: python -m golf deps\n" + "\n".join(problems)
        )
    return f"{DVC_FILE}: every stage declares what it imports"


def write_deps() -> str:
    """Put the files of each stage's closure first in its deps, sorted, and leave the rest of dvc.yaml as it is."""
    from golf.artifacts import io

    lines, out_lines, stage = DVC_FILE.read_text(encoding="utf-8").splitlines(), [], None
    is_in_deps = False
    for line in lines:
        if match := re.fullmatch(r"  (\w+):", line):
            stage = match[1]
        if re.match(r"    \w", line):
            is_in_deps = line.startswith("    deps:")
        if is_in_deps and re.fullmatch(r"      - \S+\.py", line):
            continue
        out_lines.append(line)
        if line == "    deps:" and stage:
            out_lines += [f"      - {path}" for path in source_deps.stage_sources(stage)]
    io.write_bytes(DVC_FILE, ("\n".join(out_lines) + "\n").encode())
    return check_deps()
