"""Whether the last verdict is of the artifact that lies there now."""

from pathlib import Path

from golf.ground import lineage, params, store
from golf.rules import verdict


def remark(path=verdict.FILE) -> str:
    """A line where the artifact is another than the one that was judged; "" where it is that one, or where it, the
    verdict or params.yaml isn't there.

    Raises BadArtifact for a verdict that can't be read.
    """
    if not (Path(params.FILE).is_file() and Path(path).is_file()):
        return ""
    artifact, judged = Path(params.read().evaluate.artifact), store.read_json(path).get("artifact")
    now = lineage.file_digest(artifact) if artifact.is_file() else judged
    if not isinstance(judged, str) or now == judged:
        return ""
    return f"NOT of the artifact that is there now: {artifact} is {now[:12]}, judged was {judged[:12]}; run: dvc repro"
