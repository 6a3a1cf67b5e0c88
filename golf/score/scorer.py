"""Nats of a chunk's tokens given what came before them, windows shared out over ranks."""

import numpy as np
import torch

from golf.ground.runtime import Runtime
from golf.model.gpt import GPT
from golf.score.windows import Window, plan


class Scorer:
    """Scores with one model. Two shapes of work: a whole first window, and windows whose last stride alone counts.

    score_tokens: inputs a rank holds at a time. looped: recurrence is active, as it is in every finished model.
    """

    def __init__(self, model: GPT, here: Runtime, *, score_tokens: int, looped: bool = True):
        self.model, self.here, self.looped = model, here, looped
        self.context = model.shape.context
        self.rows = max(1, score_tokens // self.context)
        self.nll = here.compiled(self.window_nll)

    def window_nll(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.nll(inputs, targets, looped=self.looped)

    @torch.no_grad()
    def score(self, prefix: np.ndarray, chunk: np.ndarray, *, stride: int) -> np.ndarray:
        """Nats of every token of ``chunk`` after ``prefix`` (at least one token): fp32 [len(chunk)], on every rank.

        ``prefix`` starts where the stream starts, so windows lie where they would in one pass over the whole stream.
        """
        begin, end = len(prefix) - 1, len(prefix) - 1 + len(chunk)
        low = max(0, begin - self.context)
        tokens = torch.from_numpy(np.concatenate([prefix[low:], chunk]).astype(np.int64)).to(self.here.device)
        nats = torch.zeros(len(chunk), device=self.here.device)
        windows = plan(begin, end, context=self.context, stride=stride)
        tails = [w for w in windows if w.first - w.start >= self.context - stride]
        wholes = [w for w in windows if w.first - w.start < self.context - stride]  # the stream's first, at most
        for group, tail in ((wholes, self.context), (tails, stride)):
            batches = [group[i : i + self.rows] for i in range(0, len(group), self.rows)]
            for batch in batches[self.here.rank :: self.here.ranks]:
                scored = self.nll(*self.gather(tokens, batch, low, tail))
                for row, window in zip(scored, batch, strict=False):
                    offset = window.first - window.start - (self.context - tail)
                    nats[window.first - begin : window.stop - begin] = row[offset : offset + window.stop - window.first]
        return self.here.sum(nats).cpu().numpy()

    def gather(self, tokens: torch.Tensor, batch: list[Window], low: int, tail: int):
        """Inputs [rows, context] and the last ``tail`` targets [rows, tail]; what a stream lacks at its end is zeros.

        A compiled graph gets the same number of rows always. Zeros come after what is scored, so causality hides them.
        """
        rows = self.rows if self.here.compile else len(batch)
        starts = torch.tensor([w.start - low for w in batch] + [0] * (rows - len(batch)), device=tokens.device)
        index = starts[:, None] + torch.arange(self.context + 1, device=tokens.device)
        taken = torch.where(index < len(tokens), tokens[index.clamp_max(len(tokens) - 1)], 0)
        return taken[:, :-1].contiguous(), taken[:, self.context + 1 - tail :].contiguous()

    @torch.no_grad()
    def log_probabilities(self, prefix: np.ndarray, chunk: np.ndarray, rows, *, stride: int) -> np.ndarray:
        """The whole vocabulary's log-probabilities for the tokens ``rows`` of ``chunk``: fp32 [len(rows), V].

        Computed before the target is looked at: the row of token i depends on ``prefix`` and chunk[:i] alone.
        """
        begin = len(prefix) - 1
        tokens = torch.from_numpy(np.concatenate([prefix, chunk]).astype(np.int64)).to(self.here.device)
        windows = plan(begin, begin + len(chunk), context=self.context, stride=stride)
        found = []
        for row in rows:
            window = next(w for w in windows if w.first <= begin + row < w.stop)
            inputs = tokens[None, window.start : begin + row + 1]
            with self.here.autocast():
                logits = self.model.logits(self.model(inputs, looped=self.looped, tail=1))
            found.append(logits[0, -1].log_softmax(-1))
        return torch.stack(found).cpu().numpy()
