"""Which packages this machine has installed."""

from importlib import metadata

__all__ = ["get_installed_version"]


def get_installed_version(package: str) -> str | None:
    """Return the version of a package, read from its metadata without importing it; None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
