"""The interface of a corpus: each other module of this package reads one, and golf.data.prepare lists them by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from golf.config.sections import FetchConfig

__all__ = ["Corpus", "Source", "SourceDocument"]

_SECTION_SEPARATOR = "\n\n"  # between the docstrings of a document


class SourceDocument(NamedTuple):
    """A document as it was read, neither normalized nor deduplicated.

    name: unique in its corpus, for messages. sections: the docstrings that ``text`` joins by empty lines, of
    which golf.data.held_out keeps one that occurs again only once; empty where a text has no such parts.
    can_be_held_out: whether it may be drawn for dev or val.
    """

    name: str
    text: str
    sections: tuple[str, ...] = ()
    can_be_held_out: bool = True

    @classmethod
    def from_sections(cls, name: str, sections: Iterable[str], *, can_be_held_out: bool = True) -> "SourceDocument":
        sections = tuple(sections)
        return cls(name, _SECTION_SEPARATOR.join(sections), sections, can_be_held_out)


@dataclass(frozen=True)
class Corpus:
    """The documents, in an order that does not depend on the machine, and what manifest.json says of their origin.

    documents: may be an iterator, read once. provenance: JSON that identifies the input, e.g. a digest of each file;
    complete once the documents are read.
    """

    documents: Iterable[SourceDocument]
    provenance: dict[str, Any]


class Source(Protocol):
    """A module that reads one corpus."""

    def read_corpus(self, fetch_cfg: FetchConfig) -> Corpus:
        """Read the corpus that ``fetch_cfg`` describes. Raises InputError naming the key or file to correct."""
