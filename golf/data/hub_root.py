"""hub.root: the folder outside the workspace where downloads and train's shards lie.

What fetch writes names a folder below it by its name alone: equal data is equal bytes wherever it lies, and a root that
was moved changes no digest.
"""

from pathlib import Path

from golf.ground import params
from golf.ground.errors import BadArtifact, BadInput

CURE = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


def resolved(root: str) -> Path:
    """What params.yaml calls root: ~ is somebody's home, and a relative path starts where params.yaml lies, as every
    command runs there. Raises BadInput where there is no such home.
    """
    try:
        return Path(root).expanduser().resolve()
    except RuntimeError as error:
        raise BadInput(f"hub.root: {root} leads nowhere ({error}); name the folder in full") from None


def below(index: Path, name: str) -> Path:
    """The folder ``name`` of hub.root, which ``index`` says holds its shards. Raises BadArtifact where it does not."""
    if name in ("", "..") or Path(name).name != name:
        raise BadArtifact(index, f"root must be the name of a folder in hub.root, got {name!r:.80}", "run fetch again")
    root = params.read().hub.root
    if not root:
        raise BadArtifact(index, f"its shards lie in {name} of hub.root, which is null", CURE)
    folder = resolved(root) / name
    if not folder.is_dir():
        raise BadArtifact(index, f"its shards should lie in {folder}, by hub.root, which is not there", CURE)
    return folder
