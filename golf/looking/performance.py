"""README's table of speeds: what ``benchmarks/results`` holds, and NOT-RUN for what it does not."""

from pathlib import Path

from golf.ground import store
from golf.ground.errors import BadArtifact, GolfError

RESULTS = Path("benchmarks/results")
NOT_RUN = "NOT-RUN"
BEGIN, END = "<!-- performance -->\n", "<!-- /performance -->"
PROFILES = ("laptop", "record")
WAYS = {"sliding": "sliding windows", "ttt": "score-first TTT", "prequant": "pre-quantisation TTT"}
HEAD = "| | on | record's form | ours | ratio | MFU | peak memory |\n|---|---|---|---|---|---|---|"


def table(folder: Path = RESULTS) -> str:
    """Markdown: a row for each figure and machine. Raises BadArtifact for a file that is not what its name says."""
    lines = [HEAD]
    for profile in PROFILES:
        steps = [row for found in files(folder, "train_step", profile) for row in step_rows(*found)]
        ways = [row for found in files(folder, "evaluation", profile) for row in way_rows(*found)]
        lines += steps or [missing(f"training step, {profile}")]
        lines += ways or [missing(f"scoring and TTT, {profile}")]
    runs = [run_line(*found) for found in files(folder, "record_run", "record")]
    return "\n".join(
        [*lines, "", *(runs or [f"The record model trained to a file of 16,000,000 bytes: {NOT_RUN}."]), ""]
    )


def files(folder: Path, name: str, profile: str) -> list[tuple[Path, dict]]:
    """Path and content of ``<name>.<profile>.<machine>.json``, one for each machine."""
    paths = sorted(Path(folder).glob(f"{name}.{profile}.*.json"))
    return [(path, store.read_json(path)) for path in paths]


def step_rows(path: Path, found: dict) -> list[str]:
    rows = []
    for row in of(path, found, "rows", list):
        looped, ours, record = of(path, row, "looped", bool), of(path, row, "ours", dict), row.get("record")
        speeds = [None if it is None else of(path, it, "tokens_per_second", float) for it in (record, ours)]
        when = "after the loop is activated" if looped else "before the loop"
        peak = ours.get("peak_bytes")
        cells = (
            f"training step, {of(path, found, 'profile', str)}, {when}",
            machine(path, found),
            *(NOT_RUN if speed is None else f"{speed:,.0f} tokens/s" for speed in speeds),
            NOT_RUN if None in speeds else f"{speeds[1] / speeds[0]:.2f}",
            f"{100 * of(path, ours, 'mfu', float):.1f} %",
            NOT_RUN if peak is None else f"{of(path, ours, 'peak_bytes', float) / 1e9:.1f} GB",
        )
        rows.append(line(cells))
    return rows


def way_rows(path: Path, found: dict) -> list[str]:
    rows = []
    for way, row in of(path, found, "ways", dict).items():
        record, ours = (of(path, row, key, float) for key in ("record_s", "ours_s"))
        name = f"{WAYS.get(way, way)}, {Path(of(path, found, 'profile', str)).stem}"
        rows.append(
            line((name, machine(path, found), f"{record:.3g} s", f"{ours:.3g} s", f"{record / ours:.2f}", "", ""))
        )
    return rows


def run_line(path: Path, found: dict) -> str:
    metrics = of(path, found, "metrics", dict)
    scores = ", ".join(
        f"{way} {of(path, metrics, f'val_bpb_{way}', float):.4f}"
        for way in ("plain", "sliding", "ttt")
        if metrics.get(f"val_bpb_{way}") is not None
    )
    return (
        f"The record model, trained for {of(path, found, 'train_seconds', float):.0f} s on one {machine(path, found)} "
        f"({of(path, found, 'steps', float):,.0f} steps, {of(path, found, 'text', str)}): {scores} bpb, "
        f"{of(path, metrics, 'artifact_bytes', float):,.0f} bytes of {of(path, metrics, 'limit_bytes', float):,.0f}. "
        f"Not comparable with scores on FineWeb."
    )


def missing(name: str) -> str:
    return line((name, *[NOT_RUN] * 6))


def line(cells) -> str:
    return f"| {' | '.join(cells)} |"


def machine(path: Path, found: dict) -> str:
    name, slug = of(path, found, "machine", str), of(path, found, "slug", str)
    threads = of(path, found, "threads", int)
    return f"{name}, {threads} thread{'s' * (threads > 1)}" if slug.startswith("cpu") else name


def of(path: Path, tree: dict, key: str, kind: type):
    """What ``tree`` holds under ``key``; float takes any number. Raises BadArtifact naming file and key."""
    value = tree.get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number if kind is float else isinstance(value, kind)):
        raise BadArtifact(path, f"{key}: expected {kind.__name__}, got {value!r}", "run its benchmark again")
    return value


def write(file: Path, folder: Path = RESULTS) -> str:
    """Put the table between the file's markers. Raises GolfError when it has none."""
    before, _, after = parts(file)
    store.write_bytes(file, (before + table(folder) + after).encode())
    return f"{file}: the table of speeds is that of {folder}"


def check(file: Path, folder: Path = RESULTS) -> str:
    """Raises GolfError when the table between the file's markers is another."""
    if parts(file)[1] != table(folder):
        raise GolfError(
            f"{file}: its table of speeds is not that of {folder}; run python -m golf performance --write {file}"
        )
    return f"{file}: its table of speeds is that of {folder}"


def parts(file: Path) -> tuple[str, str, str]:
    """Text up to the table, the table, and what follows."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GolfError(f"{file}: not found") from None
    before, begin, rest = text.partition(BEGIN)
    found, end, after = rest.partition(END)
    if not begin or not end:
        raise GolfError(f"{file}: has no place for the table; put {BEGIN.strip()} and {END} on lines of their own")
    return before + begin, found, end + after
