"""A vocabulary without a piece for a space, each of which is then charged as three byte tokens (#755, #897)."""

import io
from pathlib import Path

import sentencepiece
import thimble as project

from gallery.case import Cheat

CASE = Cheat(15, 'vocabulary without "▁"', "#755 #897", ("M-c",), refused="no piece for a lone space")


def arrange(place) -> None:
    Path("own.model").write_bytes(learn(["aaaabbbb", "abababab"], vocab_size=262, hard_vocab_limit=False))
    project.turn(place, {"fetch.tokenizer": "own.model", "model.vocabulary": 262})
    project.act("fetch")


def learn(texts: list[str], **how) -> bytes:
    """A SentencePiece model by the challenge's recipe, but for what is said."""
    model = io.BytesIO()
    kinds = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "byte_fallback": True, "model_type": "bpe"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, add_dummy_prefix=False, minloglevel=2, **kinds, **how
    )
    return model.getvalue()
