"""hub.root: the folder outside the workspace where downloads and train's shards lie.

What fetch writes names a folder below it by its name alone: equal data is equal bytes wherever it lies, and a root that
was moved changes no digest.
"""

from pathlib import Path

from golf.config import loader
from golf.errors import ArtifactError, InputError

_ROOT_HINT = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


def resolve_root(root: str) -> Path:
    """What params.yaml calls root: ~ is somebody's home, and a relative path starts where params.yaml lies, as every
    command runs there. Raises BadInput where there is no such home.
    """
    try:
        return Path(root).expanduser().resolve()
    except RuntimeError as error:
        raise InputError(f"hub.root: {root} leads nowhere ({error}); name the folder in full") from None


def resolve_subfolder(index_path: Path, name: str) -> Path:
    """The folder ``name`` of hub.root, which ``index`` says holds its shards. Raises BadArtifact where it does not."""
    if name in ("", "..") or Path(name).name != name:
        raise ArtifactError(
            index_path, f"root must be the name of a folder in hub.root, got {name!r:.80}", "run fetch again"
        )
    root_setting = loader.load_config().hub.root
    if not root_setting:
        raise ArtifactError(index_path, f"its shards lie in {name} of hub.root, which is null", _ROOT_HINT)
    folder = resolve_root(root_setting) / name
    if not folder.is_dir():
        raise ArtifactError(
            index_path, f"its shards should lie in {folder}, by hub.root, which is not there", _ROOT_HINT
        )
    return folder
