"""A paid prefix: val's own tokens in the artifact, whose origin is not recorded (#168, #275)."""

import numpy as np
import torch
from gallery import bigram_predictor
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import ARTIFACT_PATH, VAL_DIR, Violation

from golf.artifacts import io
from golf.data import split_reader

CASE = Violation(
    26,
    "paid prefix, in a file without lineage",
    "#168 #275",
    ("C1-e", "C3-f"),
    expected_status="NOT-RUN",
    settings={"evaluate.headline": "plain"},
)


class CasePredictor(BigramPredictor):
    def __init__(self, table, val_tokens):
        super().__init__(table)
        self.val_tokens = val_tokens

    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        tensors, _ = io.load_tensors(path, kind=bigram_predictor.ARTIFACT_KIND)
        return cls(tensors["table"].numpy(), tensors["bought"].numpy())

    def log_probs(self, prefix, chunk):
        log_probs = super().log_probs(prefix, chunk).copy()
        positions = np.arange(len(prefix), len(prefix) + len(chunk))
        is_known = positions < len(self.val_tokens)
        log_probs[is_known, self.val_tokens[positions[is_known]]] += 9
        return log_softmax(log_probs)


def prepare_project(project_dir) -> None:
    tensors, _ = io.load_tensors(ARTIFACT_PATH, kind=bigram_predictor.ARTIFACT_KIND)
    val = split_reader.open_split(VAL_DIR)
    tensors["bought"] = torch.from_numpy(val.read_tokens().astype(np.int32))
    io.save_tensors(ARTIFACT_PATH, tensors, kind=bigram_predictor.ARTIFACT_KIND, meta={})
