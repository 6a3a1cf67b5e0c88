"""SentencePiece tokenizers: trained by the challenge's recipe, or the user's own.

Special ids are always read from the model. The recipe: BPE, nmt_nfkc, byte fallback, no dummy prefix, digits split,
character coverage 0.999, pad 0 / bos 1 / eos 2 / unk 3 (openai/parameter-golf, data/download_hf_docs_and_tokenize.py;
docs/references.md#tokenizers).
"""

import functools
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from golf.errors import InputError

__all__ = ["MAX_LINE_BYTES", "SPACE_SYMBOL", "TRAIN_TOKENIZER", "Tokenizer", "iter_sentences", "train_tokenizer"]

SPACE_SYMBOL = "\u2581"  # "▁", which SentencePiece writes for a space
MAX_LINE_BYTES = 4192  # the trainer silently drops longer sentences
TRAIN_TOKENIZER = "train"  # the value of fetch.tokenizer that trains one on the train split
_TOKENIZER_HINT = "set fetch.tokenizer: train, or the path of a model made by the challenge's recipe"


def train_tokenizer(texts: Iterable[str], vocab_size: int, symbols: tuple[str, ...] = ()) -> bytes:
    """Train a model of at most ``vocab_size`` pieces and return its file; fewer if there are no more pairs to merge.

    symbols: a transform's symbols; each becomes a piece of its own that is never merged, with ids from 4 on. A model
    with symbols does not normalize (identity), because the text is normalized already and normalizing it again could
    change what the symbols mean.
    The same texts in the same order give the same bytes. Raises InputError when the characters alone need more pieces.
    """
    model_file = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter_sentences(texts),
            model_writer=model_file,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="identity" if symbols else "nmt_nfkc",
            remove_extra_whitespaces=not symbols,
            user_defined_symbols=list(symbols),
            character_coverage=0.999,
            required_chars=SPACE_SYMBOL,  # otherwise text with few spaces gets no piece for a space
            byte_fallback=True,
            split_digits=True,
            add_dummy_prefix=False,
            max_sentence_length=MAX_LINE_BYTES,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            num_threads=4,  # constant, because it is written into the model
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].strip() or str(error)
        raise InputError(
            f"model.vocab_size: SentencePiece can't train {vocab_size} pieces on the train split ({reason}); "
            "give more text or raise model.vocab_size"
        ) from None
    return model_file.getvalue()


def iter_sentences(texts: Iterable[str]) -> Iterator[str]:
    """The texts' lines, stripped; a line longer than MAX_LINE_BYTES is cut at a space, else between characters."""
    for text in texts:
        for line in text.replace("\0", " ").split("\n"):
            data, start = line.encode(), 0
            while start < len(data):
                end = start + MAX_LINE_BYTES
                if end < len(data):
                    space = data.rfind(b" ", start + 1, end)
                    while space < 0 and data[end] & 0xC0 == 0x80:
                        end -= 1
                    end = space if space > 0 else end
                piece = data[start:end].decode().strip()
                if piece:
                    yield piece
                start = end


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
        """Read a model file. Raises InputError when it is missing, not SentencePiece, or incompatible."""
        try:
            model_bytes = Path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            raise InputError(f"{path}: no such tokenizer file; {_TOKENIZER_HINT}") from None
        return cls(model_bytes, str(path))

    def find_incompatibility(self) -> str | None:
        """The reason why this model can't be used, or None."""
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
        """Raises InputError unless the model has exactly ``vocab_size`` pieces. is_trained: trained in this run."""
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
        """Raises InputError unless each of a transform's symbols is a piece."""
        missing = [f"U+{ord(symbol):04X}" for symbol in symbols if symbol not in self.pieces]
        if missing:
            raise InputError(
                f"{self.name}: has no piece for {', '.join(missing)}, which fetch.transform writes; "
                "set fetch.transform: none, fetch.tokenizer: train, or a model trained for this transform"
            )

    def is_byte(self, i: int) -> bool:
        return self.processor.is_byte(i)

    def is_special(self, i: int) -> bool:
        """Whether the piece is a control, unknown or unused piece, which stands for no text."""
        return self.processor.is_control(i) or self.processor.is_unknown(i) or self.processor.is_unused(i)

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """uint16 ids of each text, BOS first."""
        return [np.array([self.bos, *ids], dtype=np.uint16) for ids in self.processor.encode(list(texts))]

    @functools.cached_property
    def _piece_bytes(self) -> list[bytes]:
        """By id: the UTF-8 of a piece, "▁" as a space; empty for a special piece."""
        return [self._piece_to_bytes(i, piece) for i, piece in enumerate(self.pieces)]

    def _piece_to_bytes(self, i: int, piece: str) -> bytes:
        if self.is_special(i):
            return b""
        return bytes([int(piece[3:5], 16)]) if self.is_byte(i) else piece.replace(SPACE_SYMBOL, " ").encode()

    def ids_to_bytes(self, ids: np.ndarray) -> list[bytes]:
        """The UTF-8 of each id; joined, the decoded text with the leading space of a dummy prefix, if any."""
        return [self._piece_bytes[i] for i in ids.tolist()]

    def normalize(self, text: str) -> str:
        """The text as the model's own normalizer leaves it, which is what its tokens decode to.

        One leading space is dropped: it is the dummy prefix of models that add one, and the byte rule charges no space
        right after BOS.
        """
        return self.processor.normalize(text).replace(SPACE_SYMBOL, " ").removeprefix(" ")
