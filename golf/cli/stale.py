"""Whether the last verdict is of the artifact that lies there now."""

from pathlib import Path

from golf.artifacts import io, lineage
from golf.compliance import verdict
from golf.config import loader


def format_stale_warning(path=verdict.VERDICT_PATH) -> str:
    """A line where the artifact is another than the one that was judged; "" where it is that one, or where it, the
    verdict or params.yaml isn't there.

    Raises BadArtifact for a verdict that can't be read.
    """
    if not (Path(loader.PARAMS_FILE).is_file() and Path(path).is_file()):
        return ""
    artifact, evaluated_sha256 = Path(loader.load_config().evaluate.artifact), io.read_json(path).get("artifact")
    current_sha256 = lineage.artifact_sha256(artifact) if artifact.is_file() else evaluated_sha256
    if not isinstance(evaluated_sha256, str) or current_sha256 == evaluated_sha256:
        return ""
    return f"NOT of the artifact that is there now: {artifact} is {current_sha256[:12]}, judged was {evaluated_sha256[:12]}; run: dvc repro"
