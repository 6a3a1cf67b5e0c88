"""The interface of a corpus: each other module of this package reads one, and golf.data.prepare lists them by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from golf.config.sections import FetchConfig


class SourceDocument(NamedTuple):
    """name: unique in its corpus, for messages. text: as it was read, neither normalized nor deduplicated."""

    name: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """The documents, in an order that does not depend on the machine, and what manifest.json says of their origin.

    documents: may be an iterator, read once. provenance: JSON that identifies the input, e.g. a digest of each file.
    """

    documents: Iterable[SourceDocument]
    provenance: dict[str, Any]


class Source(Protocol):
    """A module that reads one corpus."""

    def read_corpus(self, fetch_cfg: FetchConfig) -> Corpus:
        """Read the corpus that ``fetch_cfg`` describes. Raises InputError naming the key or file to correct."""
