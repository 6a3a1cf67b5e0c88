"""Divergence of quantized weights from the full-precision model, and the points measured so far, kept in a file."""

# R windows of a batch, T context_length, D d_model

import json
from pathlib import Path

import numpy as np
import torch
from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.model.gpt import GPT

_BATCH_WINDOWS = 16


class DivergenceScorer:
    """Scores weights on plain windows of a split against the full-precision model, document by document.

    max_targets: of the split's first documents; None for all. Raises ArtifactError for a missing or damaged file.
    """

    def __init__(self, artifacts: RunArtifacts, folder: Path, split: str, max_targets: int | None, device: str):
        tokenizer = Tokenizer.open(folder / "fetch/tokenizer.model")
        stream = EvalStream.from_split(split_reader.open_split(folder / "fetch" / split), tokenizer)
        self._n_targets = min(max_targets or stream.n_targets, stream.n_targets)
        length = artifacts.model_cfg.context_length
        tokens = torch.from_numpy(stream.tokens[: self._n_targets + 1].astype(np.int64))
        padded = torch.zeros(2, -(-self._n_targets // length) * length, dtype=torch.int64)
        padded[0, : self._n_targets], padded[1, : self._n_targets] = tokens[:-1], tokens[1:]
        self._windows = padded.view(2, -1, length).to(device)
        starts = np.flatnonzero(stream.tokens[: self._n_targets] == stream.bos)
        self._document_starts = np.unique(np.concatenate([[0], starts]))
        self._target_bytes = stream.target_bytes[: self._n_targets]
        self._reference, self._model = (GPT(artifacts.model_cfg).to(device) for _ in range(2))
        self._reference.load_state_dict(artifacts.state_dict)
        with torch.no_grad():  # logits would take V / d_model times the memory of what they are computed from
            batches = self._windows[0].split(_BATCH_WINDOWS)
            self._hidden = [self._reference(inputs_RT, recurrent=True) for inputs_RT in batches]

    @torch.no_grad()
    def score(self, weights: dict[str, torch.Tensor]) -> dict[str, list]:
        """By document: nats of KL(full precision ‖ weights), bits of the targets under the weights, bytes, targets."""
        self._model.load_state_dict(weights)
        kl, nll = [], []
        batches = (part.split(_BATCH_WINDOWS) for part in self._windows)
        for inputs_RT, targets_RT, hidden_RTD in zip(*batches, self._hidden, strict=True):
            log_p = self._reference.logits(hidden_RTD).float().log_softmax(-1)
            log_q = self._model.logits(self._model(inputs_RT, recurrent=True)).float().log_softmax(-1)
            kl.append((log_p.exp() * (log_p - log_q)).sum(-1).flatten().cpu())
            nll.append(-log_q.gather(-1, targets_RT[:, :, None]).flatten().cpu())
        kl_T, nll_T = (torch.cat(parts).double().numpy()[: self._n_targets] for parts in (kl, nll))
        columns = {"kl": kl_T, "bits": nll_T / np.log(2), "target_bytes": self._target_bytes, "tokens": kl_T * 0 + 1}
        return {name: np.add.reduceat(column, self._document_starts).tolist() for name, column in columns.items()}


class PointCache:
    """Measured points in a JSON lines file, by their key. A line that a kill has cut short is measured again."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._points = path, {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            io.write_bytes(path, b"".join(lines[:-1]))
            print(f"{path}: its last line is cut short and is left out", flush=True)
            lines.pop()
        for row in map(json.loads, lines):
            self._points[json.dumps(row["key"])] = row["point"]

    def get(self, key: dict) -> dict | None:
        return self._points.get(json.dumps(key))

    def add(self, key: dict, point: dict) -> None:
        self._points[json.dumps(key)] = point
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "point": point}) + "\n")
