"""Nats of a chunk's tokens given what came before them, windows shared out over ranks."""

import numpy as np
import torch

from golf.ground.runtime import Runtime
from golf.ground.shape import Shape
from golf.model.gpt import GPT
from golf.score.windows import plan


class Scorer:
    """Scores with one model. Two shapes of work: a whole first window, and windows whose last stride alone counts.

    score_tokens: inputs a rank holds at a time. looped: recurrence is active, as it is in every finished model.
    """

    def __init__(self, model: GPT, here: Runtime, *, score_tokens: int, looped: bool = True):
        self.model, self.here, self.looped = model, here, looped
        self.context = model.shape.context
        self.score_tokens = score_tokens
        self.nll = here.compiled(self.window_nll)

    def window_nll(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.nll(inputs, targets, looped=self.looped)

    def rows(self, tail: int) -> int:
        """Windows at a time. Whole ones are few in a chunk and have the most logits: an eighth of the others."""
        return max(1, self.score_tokens // self.context // (8 if tail == self.context else 1))

    @torch.no_grad()
    def warm_up(self, *, stride: int) -> None:
        """Make the graphs of a pass, where graphs are made, before it meets its stream. Nothing is left of it."""
        for tail in {self.context, stride} if self.here.compile else ():
            x, y = random_windows(self.model.shape, self.rows(tail), self.here)
            self.nll(x, y[:, -tail:].contiguous())

    @torch.no_grad()
    def score(self, prefix: np.ndarray, chunk: np.ndarray, *, stride: int) -> np.ndarray:
        """Nats of every token of ``chunk`` after ``prefix`` (at least one token): fp32 [len(chunk)], on every rank.

        ``prefix`` starts where the stream starts, so windows lie where they would in one pass over the whole stream.
        """
        low, begin, windows, tokens = self.laid_out(prefix, chunk, stride)
        nats = torch.zeros(len(chunk) + 1, device=self.here.device)  # the last takes what does not count
        tails = [w for w in windows if w.first - w.start >= self.context - stride]
        wholes = [w for w in windows if w.first - w.start < self.context - stride]  # the stream's first, at most
        for group, tail in ((wholes, self.context), (tails, stride)):
            edges = [(w.start, w.first, w.stop) for w in group[self.here.rank :: self.here.ranks]]
            rows = self.rows(tail)
            if self.here.compile:  # a graph gets the same number of rows always
                edges += [(low, 0, 0)] * (-len(edges) % rows)
            for i in range(0, len(edges), rows):
                batch = torch.tensor(edges[i : i + rows], device=self.here.device)
                start, first, stop = batch[:, :, None].unbind(1)
                index = start - low + torch.arange(self.context + 1, device=self.here.device)
                # What a stream lacks at its end is zeros: they come after what is scored, so causality hides them.
                taken = torch.where(index < len(tokens), tokens[index.clamp_max(len(tokens) - 1)], 0)
                place = (index + low)[:, self.context - tail : -1]
                counts = (first <= place) & (place < stop)
                nll = self.nll(taken[:, :-1].contiguous(), taken[:, self.context + 1 - tail :].contiguous())
                nats[torch.where(counts, place - begin, len(chunk))] = nll
        return self.here.sum(nats[:-1]).cpu().numpy()

    def laid_out(self, prefix: np.ndarray, chunk: np.ndarray, stride: int):
        """Position from which tokens are needed, the chunk's first position, its windows, the tokens."""
        begin = len(prefix) - 1
        low = max(0, begin - self.context)
        tokens = torch.from_numpy(np.concatenate([prefix[low:], chunk]).astype(np.int64)).to(self.here.device)
        return low, begin, plan(begin, begin + len(chunk), context=self.context, stride=stride), tokens

    @torch.no_grad()
    def log_probabilities(self, prefix: np.ndarray, chunk: np.ndarray, rows, *, stride: int) -> np.ndarray:
        """The whole vocabulary's log-probabilities for the tokens ``rows`` of ``chunk``: fp32 [len(rows), V].

        Computed before the target is looked at: the row of token i depends on ``prefix`` and chunk[:i] alone.
        """
        low, begin, windows, tokens = self.laid_out(prefix, chunk, stride)
        found = []
        for row in rows:
            window = next(w for w in windows if w.first <= begin + row < w.stop)
            inputs = tokens[None, window.start - low : begin + row + 1 - low]
            with self.here.autocast():
                logits = self.model.logits(self.model(inputs, looped=self.looped, tail=1))
            found.append(logits[0, -1].log_softmax(-1))
        return torch.stack(found).cpu().numpy()


def random_windows(shape: Shape, rows: int, here: Runtime) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, int64 [rows, context] each, of no stream, from dice of their own."""
    dice = torch.Generator().manual_seed(0)
    tokens = torch.randint(shape.vocabulary, (rows, shape.context + 1), generator=dice).to(here.device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
