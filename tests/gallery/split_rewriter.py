"""Write a split again with other documents, or with other byte counts per token, and a consistent index."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from gallery.case import VAL_DIR

from golf.artifacts import io, json_records
from golf.data import split_reader, split_writer
from golf.data.byte_counts import TokenByteTable
from golf.data.split_reader import TokenSplit
from golf.data.split_writer import EncodedDocument
from golf.data.tokenizer import Tokenizer

TOKENIZER_PATH, _MANIFEST_PATH = "artifacts/fetch/tokenizer.model", "artifacts/fetch/manifest.json"


def read_documents(split: TokenSplit) -> list[EncodedDocument]:
    """A split's documents as they were written, without a sidecar."""
    tokens_by_document = np.split(split.read_tokens(), split.find_document_starts()[1:])
    keys = ("sha256", "text_sha256", "casefolded_text_sha256", "bytes")
    text_fields = [{key: row[key] for key in keys} for row in split.documents]
    return [
        EncodedDocument(**fields, tokens=tokens) for fields, tokens in zip(text_fields, tokens_by_document, strict=True)
    ]


def write_split(split: TokenSplit, documents: Iterable[EncodedDocument]) -> dict:
    """Put these documents into the split's place; returns its index."""
    folder = Path("artifacts/fetch") / split.name
    settings = {"vocab_size": split.vocab_size, "bos": split.bos, "tokenizer_sha256": split.tokenizer_sha256}
    return split_writer.write_split(folder, split.name, documents, **settings, shard_tokens=4000)


def set_byte_counts(rule: Callable[[np.ndarray, TokenByteTable], np.ndarray]) -> None:
    """Charge val's tokens by a rule of one's own: of ids [n] and the correct table the bytes [n]; BOS gets none."""
    table = TokenByteTable.from_tokenizer(Tokenizer.open(TOKENIZER_PATH))
    replace_val(
        _with_byte_counts(document, rule(document.tokens, table))
        for document in read_documents(split_reader.open_split(VAL_DIR))
    )


def replace_val(documents: Iterable[EncodedDocument]) -> None:
    """Put these documents into val's place, and tell the manifest."""
    index = write_split(split_reader.open_split(VAL_DIR), documents)
    manifest = io.read_json(_MANIFEST_PATH)
    digest = io.sha256_file(Path(VAL_DIR) / split_reader.INDEX_FILE)
    manifest["splits"]["val"] |= {"bytes": index["bytes"], "sha256": digest}
    json_records.write_sealed(_MANIFEST_PATH, manifest)


def _with_byte_counts(document: EncodedDocument, sizes: np.ndarray) -> EncodedDocument:
    sizes = np.append(0, sizes[1:]).astype(np.uint16)
    return dataclasses.replace(document, bytes=int(sizes.sum()), token_bytes=sizes)
