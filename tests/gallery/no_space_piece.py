"""A vocabulary without a piece for a space, so each space is counted as three byte tokens (#755, #897)."""

import io
from pathlib import Path

import sentencepiece
from gallery.case import Violation

from tests.helpers import tiny_project

CASE = Violation(15, 'vocabulary without "▁"', "#755 #897", ("M-c",), error_pattern="no piece for a lone space")


def prepare_project(project_dir) -> None:
    Path("own.model").write_bytes(train_tokenizer(["aaaabbbb", "abababab"], vocab_size=262, hard_vocab_limit=False))
    tiny_project.set_params(project_dir, {"fetch.tokenizer": "own.model", "model.vocab_size": 262})
    tiny_project.run_stage_in_process("fetch")


def train_tokenizer(texts: list[str], **options) -> bytes:
    """A SentencePiece model by the challenge's recipe, but for what is said."""
    model = io.BytesIO()
    defaults = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "byte_fallback": True, "model_type": "bpe"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, add_dummy_prefix=False, minloglevel=2, **defaults, **options
    )
    return model.getvalue()
