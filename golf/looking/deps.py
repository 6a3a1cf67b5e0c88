"""dvc.yaml lists the files that each stage's imports reach, so that editing one reruns just the stages that use it."""

import re
from pathlib import Path

from golf.ground import closure
from golf.ground.errors import GolfError

FILE = Path("dvc.yaml")


def declared(text: str) -> dict[str, list[str]]:
    """The .py files under each stage's deps."""
    found: dict[str, list[str]] = {}
    stage, inside = None, False
    for line in f"\n{text}".partition("\nstages:\n")[2].splitlines():
        if re.match(r"\w", line):  # the next top-level key: plots, artifacts
            break
        if match := re.fullmatch(r"  (\w+):", line):
            stage, inside = match[1], False
            found[stage] = []
        elif re.match(r"    \w", line):
            inside = line.startswith("    deps:")
        elif inside and stage and (match := re.fullmatch(r"      - (\S+\.py)", line)):
            found[stage].append(match[1])
    return found


def check() -> str:
    """Raises GolfError naming each stage whose list is not what it imports."""
    listed = declared(FILE.read_text(encoding="utf-8"))
    wrong = []
    for stage, files in listed.items():
        used = set(closure.of_stage(stage))
        missing, surplus = sorted(used - set(files)), sorted(set(files) - used)
        if missing or surplus:
            wrong.append(f"  {stage}: missing {missing}, not imported {surplus}")
    if wrong:
        raise GolfError(f"{FILE}: deps are not what the stages import; run: python -m golf deps\n" + "\n".join(wrong))
    return f"{FILE}: every stage declares what it imports"


def write() -> str:
    """Put the files of each stage's closure first in its deps, sorted, and leave the rest of dvc.yaml as it is."""
    from golf.ground import store

    lines, out, stage = FILE.read_text(encoding="utf-8").splitlines(), [], None
    inside = False
    for line in lines:
        if match := re.fullmatch(r"  (\w+):", line):
            stage = match[1]
        if re.match(r"    \w", line):
            inside = line.startswith("    deps:")
        if inside and re.fullmatch(r"      - \S+\.py", line):
            continue
        out.append(line)
        if line == "    deps:" and stage:
            out += [f"      - {path}" for path in closure.of_stage(stage)]
    store.write_bytes(FILE, ("\n".join(out) + "\n").encode())
    return check()
