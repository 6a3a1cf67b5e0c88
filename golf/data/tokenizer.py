"""SentencePiece tokenizers: trained in this run (golf.data.tokenization.trainer), or the user's own.

Special ids are always read from the model.
"""

import functools
import hashlib
import itertools
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from golf.data import normalize
from golf.errors import InputError

__all__ = ["SPACE_SYMBOL", "TRAIN_TOKENIZER", "Tokenizer"]

SPACE_SYMBOL = "\u2581"  # "▁", which SentencePiece writes for a space
TRAIN_TOKENIZER = "train"  # the value of fetch.tokenizer that trains one on the train split
_MAX_FILE_BYTES = 1 << 26  # a model of 65,536 pieces has less than 2 MB
_PIECE_CHARS = 1 << 12  # of a long text, encoded as one: longer ones take more time a character
_BATCH_PIECES = 1 << 8  # encoded by one call, in parallel
_TOKENIZER_HINT = "set fetch.tokenizer: train, or the path of a model made by the challenge's recipe"


class Tokenizer:
    """A validated SentencePiece model.

    vocab_size: number of pieces. pieces: their texts by id. bos: the id before every document. model_bytes: the
    model file; sha256: its digest. name: of the file, for messages.
    """

    def __init__(self, model_bytes: bytes, name: str) -> None:
        """Raises InputError for a model whose bytes can't be counted or that has no BOS."""
        self.name, self.model_bytes, self.sha256 = name, model_bytes, hashlib.sha256(model_bytes).hexdigest()
        try:
            if not model_bytes:
                raise RuntimeError("empty")
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=model_bytes)
        except RuntimeError:
            raise InputError(f"{name}: not a SentencePiece model; {_TOKENIZER_HINT}") from None
        self.vocab_size = self.processor.vocab_size()
        self.bos = self.processor.bos_id()
        self.pieces = [self.processor.id_to_piece(i) for i in range(self.vocab_size)]
        problem = self.find_incompatibility()
        if problem:
            raise InputError(f"{name}: {problem}; {_TOKENIZER_HINT}")

    @classmethod
    def open(cls, path: Path | str) -> "Tokenizer":
        """Read a model file. Raises InputError when it can't be read, is not SentencePiece, or is incompatible."""
        try:
            status = Path(path).stat()
            if not stat.S_ISREG(status.st_mode):  # reading a device or a FIFO may never end
                raise InputError(f"{path}: not a regular file; {_TOKENIZER_HINT}")
            if status.st_size > _MAX_FILE_BYTES:
                problem = f"{status.st_size:,} bytes, a tokenizer has at most {_MAX_FILE_BYTES:,}"
                raise InputError(f"{path}: {problem}; {_TOKENIZER_HINT}")
            model_bytes = Path(path).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such tokenizer file; {_TOKENIZER_HINT}") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: can't be read ({reason}); {_TOKENIZER_HINT}") from None
        return cls(model_bytes, str(path))

    def find_incompatibility(self) -> str | None:
        """Return the reason why this model can't be used, or None."""
        if self.vocab_size > 1 << 16:
            return f"{self.vocab_size:,} pieces, but shards hold ids below 65,536"
        if not 0 <= self.bos < self.vocab_size:
            return "it has no BOS id, with which every document must start"
        if self.is_special(self.bos) is False:
            return f"its BOS id {self.bos} is not a control piece"
        private_use_ids = self.processor.encode("\U0010fffd\ue000")  # private use: no vocabulary should hold it
        if {f"<0x{i:02X}>" for i in range(256)} - set(self.pieces) or self.processor.unk_id() in private_use_ids:
            return "it has no byte fallback, so text would be lost"
        if SPACE_SYMBOL not in self.pieces or self.is_special(self.pieces.index(SPACE_SYMBOL)):
            return f'it has no piece for a lone space ("{SPACE_SYMBOL}"), so a space would be charged as three bytes'
        return None

    def require_vocab_size(self, vocab_size: int, *, is_trained: bool = False) -> None:
        """Raise InputError unless the model has exactly ``vocab_size`` pieces. is_trained: trained in this run."""
        if self.vocab_size == vocab_size:
            return
        if is_trained:
            raise InputError(
                f"model.vocab_size: the train split yields a tokenizer of {self.vocab_size} pieces, not {vocab_size}: "
                f"too little text; set model.vocab_size: {self.vocab_size} or less, or give more text"
            )
        raise InputError(
            f"{self.name}: has {self.vocab_size} pieces, model.vocab_size is {vocab_size}; "
            f"set model.vocab_size: {self.vocab_size}, or fetch.tokenizer to a model of {vocab_size} pieces"
        )

    def require_symbols(self, symbols: tuple[str, ...]) -> None:
        """Raise InputError unless each of a transform's symbols is a piece."""
        missing = [f"U+{ord(symbol):04X}" for symbol in symbols if symbol not in self.pieces]
        if missing:
            raise InputError(
                f"{self.name}: has no piece for {', '.join(missing)}, which fetch.transform writes; "
                "set fetch.transform: none, fetch.tokenizer: train, or a model trained for this transform"
            )

    def require_text_unchanged(self) -> None:
        """Raise InputError when the model's normalizer changes letters that golf.data.normalize leaves as they are.

        Its tokens would then decode to another text than the one whose bytes are counted. Every letter that has a case
        is tried; byte_counts.count_and_verify finds any other change in the document where it occurs.
        """
        for letter in normalize.list_cased_letters():
            if (changed := self.normalize(letter)) != letter:
                raise InputError(
                    f"{self.name}: its normalizer changes {letter!r} to {changed!r}, but bytes are counted of the text "
                    f"as nmt_nfkc leaves it; {_TOKENIZER_HINT}"
                )

    def is_byte(self, i: int) -> bool:
        return self.processor.is_byte(i)

    def is_special(self, i: int) -> bool:
        """Return whether the piece is a control, unknown or unused piece, which stands for no text."""
        return self.processor.is_control(i) or self.processor.is_unknown(i) or self.processor.is_unused(i)

    def encode(self, texts: list[str], report: Callable[[int], None] | None = None) -> list[np.ndarray]:
        """Return uint16 ids of each text, BOS first. texts: such that the model's normalizer leaves them as they are.

        A long text is encoded piece by piece, with the ids that it has as a whole (``_iter_pieces``).
        report: called now and then with the number of characters that are encoded.
        """
        parts = [[np.array([self.bos], dtype=np.uint16)] for _ in texts]
        jobs = ((number, *piece) for number, text in enumerate(texts) for piece in self._iter_pieces(text))
        n_chars = 0
        while batch := list(itertools.islice(jobs, _BATCH_PIECES)):
            id_lists = self.processor.encode([before + piece for _, before, piece in batch], return_type="numpy")
            n_before = {before: len(self.processor.encode(before)) for _, before, _ in batch}
            for (number, before, _), ids in zip(batch, id_lists, strict=True):
                parts[number].append(ids[n_before[before] :].astype(np.uint16))
            n_chars += sum(len(piece) for _, _, piece in batch)
            if report:
                report(n_chars)
        return [np.concatenate(arrays) for arrays in parts]

    def _iter_pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """Cut a text where its encoding does not depend on what lies on the other side: (character before, piece).

        BPE merges two neighbors when their text is a piece. It therefore never merges over a cut between two characters
        that are neighbors in no piece, and what it merges first elsewhere changes nothing. A piece is encoded after the
        character before it, whose ids are dropped: then the model adds no prefix to it and strips no space.
        Other kinds of models weigh the text as a whole, so it is not cut.
        """
        before = ""
        for piece in normalize.iter_pieces(text, _PIECE_CHARS, self._joined_pairs) if self._is_bpe else [text]:
            yield before, piece
            before = piece[-1:]

    @functools.cached_property
    def _is_bpe(self) -> bool:
        """BPE numbers its merges 0, -1, -2, …; the other models score pieces by logarithms of probabilities."""
        return all(self.processor.get_score(i).is_integer() for i in range(self.vocab_size))

    @functools.cached_property
    def _joined_pairs(self) -> frozenset[str]:
        """All pairs of characters that are neighbors in a piece."""
        texts = (piece.replace(SPACE_SYMBOL, " ") for piece in self.pieces)
        return frozenset(a + b for text in texts for a, b in itertools.pairwise(text))

    @functools.cached_property
    def _piece_bytes(self) -> list[bytes]:
        """By id: the UTF-8 of a piece, "▁" as a space; empty for a special piece."""
        return [self._piece_to_bytes(i, piece) for i, piece in enumerate(self.pieces)]

    def _piece_to_bytes(self, i: int, piece: str) -> bytes:
        if self.is_special(i):
            return b""
        return bytes([int(piece[3:5], 16)]) if self.is_byte(i) else piece.replace(SPACE_SYMBOL, " ").encode()

    def ids_to_bytes(self, ids: np.ndarray) -> list[bytes]:
        """Return the UTF-8 of each id; joined, the decoded text with the leading space of a dummy prefix, if any."""
        return [self._piece_bytes[i] for i in ids.tolist()]

    def normalize(self, text: str) -> str:
        """Return the text as the model's own normalizer leaves it, which is what its tokens decode to.

        One leading space is dropped: it is the dummy prefix of models that add one, and the byte rule charges no space
        right after BOS.
        """
        return self.processor.normalize(text).replace(SPACE_SYMBOL, " ").removeprefix(" ")
