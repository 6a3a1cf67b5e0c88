"""The files on this machine that hold the text which is scored: the sandbox must not open them.

The manifest that fetch writes says where its corpus came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import json_records
from golf.data.sources.package_docs import HELD_OUT_PACKAGES

__all__ = ["CorpusSources", "find_corpus_sources", "read_corpus_sources"]


@dataclass(frozen=True)
class CorpusSources:
    """packages: installed packages whose sources are the corpus. held_out_packages: those of dev and val, which no
    process may import. files: files of the corpus. problem: why they cannot be kept from the predictor; "" if they can.
    """

    packages: frozenset[str] = frozenset()
    held_out_packages: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    problem: str = ""


def read_corpus_sources(manifest_path: str | Path) -> CorpusSources:
    """Read the sources of a manifest's corpus. Raises ArtifactError for a missing or malformed file."""
    return find_corpus_sources(json_records.read_sealed(manifest_path, source=dict)["source"])


def find_corpus_sources(source: Mapping[str, Any]) -> CorpusSources:
    """Return the sources that the section ``source`` of a manifest names.

    Which modules of a package became dev and val the manifest does not say, so all of the package are held back. Each
    file of fetch.path is, wherever it lies. The standard library has to be readable, as torch imports it at any time.
    """
    kind = source.get("kind")
    if kind == "docs":
        return CorpusSources(frozenset(source.get("packages", {})), frozenset(HELD_OUT_PACKAGES))
    if kind == "files":
        folder = Path(str(source.get("path", ""))).resolve()
        return CorpusSources(files=tuple(str(folder / str(name)) for name in source.get("files", {})))
    if kind == "stdlib":
        return CorpusSources(problem="val is part of Python's standard library, which the predictor must read")
    return CorpusSources()
