"""Train a SentencePiece tokenizer by the challenge's recipe.

BPE, nmt_nfkc, byte fallback, no dummy prefix, digits split, character coverage 0.999, pad 0 / bos 1 / eos 2 / unk 3
(openai/parameter-golf, data/download_hf_docs_and_tokenize.py; docs/references.md#tokenizers).
"""

import ctypes
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import sentencepiece

from golf.data.tokenizer import SPACE_SYMBOL
from golf.errors import InputError

__all__ = ["MAX_LINE_BYTES", "MAX_TRAINING_BYTES", "iter_sentences", "train_tokenizer"]

MAX_LINE_BYTES = 4192  # the trainer silently drops longer sentences
MAX_TRAINING_BYTES = 20_000_000  # of text; the trainer takes 7 bytes of memory for each, 25 in text without spaces
_MIN_TRAINER_COVERAGE = 0.98  # the trainer accepts no lower character_coverage
_N_CONTROL_PIECES, _N_BYTE_PIECES = 4, 256  # of a trained model


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    symbols: tuple[str, ...] = (),
    character_coverage: float = 0.999,
    sampled_frac: float = 1.0,
) -> bytes:
    """Train a model of at most ``vocab_size`` pieces and return its file; fewer if there are no more pairs to merge.

    symbols: a transform's symbols; each becomes a piece of its own that is never merged, with ids from 4 on. A model
    with symbols does not normalize (identity), because the text is normalized already and normalizing it again could
    change what the symbols mean.
    character_coverage: the most frequent characters that make up this share of the texts become pieces; the others are
    encoded as bytes. The recipe's is 0.999. sampled_frac: the share of the sentences, evenly spaced, that is used.
    The same texts in the same order give the same bytes. Raises InputError when the characters alone need more pieces.
    """
    counts: Counter[str] = Counter()
    sentences, trainer_coverage = _count_characters(_sample(iter_sentences(texts), sampled_frac), counts), 1.0
    if character_coverage >= _MIN_TRAINER_COVERAGE:
        trainer_coverage = character_coverage
    else:  # left out here as the trainer would: it neither counts nor merges a NUL, which no sentence has
        sentence_list = list(sentences)
        rare = counts.keys() - _cover_characters(counts, symbols, character_coverage)
        sentences = _replace_characters(sentence_list, rare)
    model_file = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=model_file,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="identity" if symbols else "nmt_nfkc",
            remove_extra_whitespaces=not symbols,
            user_defined_symbols=list(symbols),
            character_coverage=trainer_coverage,
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
        problem = _find_shortage(counts, vocab_size, symbols, character_coverage) or (
            f"SentencePiece can't train {vocab_size} pieces on the train split ({reason}); give more text"
        )
        raise InputError(f"model.vocab_size: {problem}") from None
    finally:
        _return_freed_memory()
    return model_file.getvalue()


def _sample(sentences: Iterable[str], frac: float) -> Iterator[str]:
    """A sentence whenever a multiple of ``frac`` reaches the next whole number."""
    return (text for number, text in enumerate(sentences, 1) if int(number * frac) > int((number - 1) * frac))


def _count_characters(sentences: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    for sentence in sentences:
        counts.update(sentence)
        yield sentence


def _replace_characters(sentences: list[str], rare: set[str]) -> Iterator[str]:
    table = dict.fromkeys(map(ord, rare), "\0")
    return (sentence.translate(table) for sentence in sentences)


def _cover_characters(counts: Counter[str], symbols: tuple[str, ...], coverage: float) -> set[str]:
    """The trainer's rule: the space and the symbols, then the most frequent characters up to this share of all."""
    ordered = _order_characters(counts, symbols)
    n_before = itertools.accumulate((counts[char] for char in ordered), initial=0)
    n_all = max(1, sum(counts[char] for char in ordered))
    single = np.float32  # in which the trainer compares
    covered = (char for char, n in zip(ordered, n_before, strict=False) if single(n / n_all) < single(coverage))
    return {" ", *symbols, *covered}


def _order_characters(counts: Counter[str], symbols: tuple[str, ...]) -> list[str]:
    """All characters but symbols: the space, which always gets a piece, and the others from the most frequent on."""
    return [" ", *sorted(counts.keys() - {" ", *symbols}, key=lambda char: (-counts[char], char))]


def _find_shortage(counts: Counter[str], vocab_size: int, symbols: tuple[str, ...], coverage: float) -> str | None:
    """The reason why ``vocab_size`` pieces can't hold the characters of ``coverage``, and what to set, or None.

    The coverage to set gives characters half of the pieces that are free for characters and merges. None is named that
    would leave most of the text to bytes.
    """
    n_fixed = _N_CONTROL_PIECES + _N_BYTE_PIECES + len(symbols)
    n_needed, n_free = len(_cover_characters(counts, symbols, coverage)) - len(symbols), vocab_size - n_fixed
    if n_needed <= n_free:
        return None
    frequencies = [counts[char] for char in _order_characters(counts, symbols)]
    fitting = math.floor(sum(frequencies[: max(0, n_free // 2)]) / max(1, sum(frequencies)) * 1e4) / 1e4
    cures = [f"model.vocab_size: {n_fixed + n_needed} or more"]
    if fitting > 0.5:
        cures.insert(0, f"fetch.character_coverage: {fitting:g} (text stays encodable, rarer characters as bytes)")
    return (
        f"{vocab_size:,} pieces are too few for the characters of the train split: fetch.character_coverage: "
        f"{coverage:g} makes {n_needed:,} of them pieces, beside {n_fixed} for bytes and control; "
        f"set {', or '.join(cures)}"
    )


def _return_freed_memory() -> None:
    """Give the memory that the trainer has freed back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def iter_sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts' lines, stripped; a line over MAX_LINE_BYTES is cut at a space, else between characters."""
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
