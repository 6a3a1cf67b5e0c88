"""Nats of a chunk's tokens given what came before them, windows shared out over ranks."""

import numpy as np
import torch

from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.inference.windows import plan_windows
from golf.model.gpt import GPT


class Scorer:
    """Scores with one model. Two shapes of work: a whole first window, and windows whose last stride alone counts.

    score_tokens: inputs a rank holds at a time. looped: recurrence is active, as it is in every finished model.
    """

    def __init__(self, model: GPT, ctx: DistContext, *, eval_batch_tokens: int, recurrent: bool = True):
        self._model, self.ctx, self._recurrent = model, ctx, recurrent
        self._context_length = model.cfg.context_length
        self._eval_batch_tokens = eval_batch_tokens
        self.compiled_nll = ctx.maybe_compile(self._window_nll)

    def _window_nll(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self.ctx.autocast():
            return self._model.nll(inputs, targets, recurrent=self._recurrent)

    def _batch_rows(self, tail: int) -> int:
        """Windows at a time. Whole ones are few in a chunk and have the most logits: an eighth of the others."""
        return max(1, self._eval_batch_tokens // self._context_length // (8 if tail == self._context_length else 1))

    @torch.no_grad()
    def warm_up(self, *, stride: int) -> None:
        """Make the graphs of a pass, where graphs are made, before it meets its stream. Nothing is left of it."""
        for tail in {self._context_length, stride} if self.ctx.compile else ():
            x, y = random_windows(self._model.cfg, self._batch_rows(tail), self.ctx)
            self.compiled_nll(x, y[:, -tail:].contiguous())

    @torch.no_grad()
    def score(self, prefix: np.ndarray, chunk: np.ndarray, *, stride: int) -> np.ndarray:
        """Nats of every token of ``chunk`` after ``prefix`` (at least one token): fp32 [len(chunk)], on every rank.

        ``prefix`` starts where the stream starts, so windows lie where they would in one pass over the whole stream.
        """
        token_offset, begin, windows, tokens = self._plan_chunk(prefix, chunk, stride)
        nats = torch.zeros(len(chunk) + 1, device=self.ctx.device)  # the last takes what does not count
        tail_windows = [w for w in windows if w.score_from - w.start >= self._context_length - stride]
        full_windows = [
            w for w in windows if w.score_from - w.start < self._context_length - stride
        ]  # the stream's first, at most
        for group, tail in ((full_windows, self._context_length), (tail_windows, stride)):
            bounds = [(w.start, w.score_from, w.score_to) for w in group[self.ctx.rank :: self.ctx.world_size]]
            batch_rows = self._batch_rows(tail)
            if self.ctx.compile:  # a graph gets the same number of rows always
                bounds += [(token_offset, 0, 0)] * (-len(bounds) % batch_rows)
            for i in range(0, len(bounds), batch_rows):
                batch = torch.tensor(bounds[i : i + batch_rows], device=self.ctx.device)
                start, score_from, score_to = batch[:, :, None].unbind(1)
                token_index = start - token_offset + torch.arange(self._context_length + 1, device=self.ctx.device)
                # What a stream lacks at its end is zeros: they come after what is scored, so causality hides them.
                token_ids = torch.where(token_index < len(tokens), tokens[token_index.clamp_max(len(tokens) - 1)], 0)
                positions = (token_index + token_offset)[:, self._context_length - tail : -1]
                is_scored = (score_from <= positions) & (positions < score_to)
                nll = self.compiled_nll(
                    token_ids[:, :-1].contiguous(), token_ids[:, self._context_length + 1 - tail :].contiguous()
                )
                nats[torch.where(is_scored, positions - begin, len(chunk))] = nll
        return self.ctx.all_reduce(nats[:-1]).cpu().numpy()

    def _plan_chunk(self, prefix: np.ndarray, chunk: np.ndarray, stride: int):
        """Position from which tokens are needed, the chunk's first position, its windows, the tokens."""
        begin = len(prefix) - 1
        token_offset = max(0, begin - self._context_length)
        tokens = torch.from_numpy(np.concatenate([prefix[token_offset:], chunk]).astype(np.int64)).to(self.ctx.device)
        return (
            token_offset,
            begin,
            plan_windows(begin, begin + len(chunk), context_length=self._context_length, stride=stride),
            tokens,
        )

    @torch.no_grad()
    def log_probs(self, prefix: np.ndarray, chunk: np.ndarray, positions, *, stride: int) -> np.ndarray:
        """The whole vocabulary's log-probabilities for the tokens ``rows`` of ``chunk``: fp32 [len(rows), V].

        Computed before the target is looked at: the row of token i depends on ``prefix`` and chunk[:i] alone.
        """
        token_offset, begin, windows, tokens = self._plan_chunk(prefix, chunk, stride)
        log_prob_rows = []
        for position in positions:
            window = next(w for w in windows if w.score_from <= begin + position < w.score_to)
            inputs = tokens[None, window.start - token_offset : begin + position + 1 - token_offset]
            with self.ctx.autocast():
                logits = self._model.logits(self._model(inputs, recurrent=self._recurrent, last_n=1))
            log_prob_rows.append(logits[0, -1].log_softmax(-1))
        return torch.stack(log_prob_rows).cpu().numpy()


def random_windows(model_cfg: ModelConfig, n_rows: int, ctx: DistContext) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, int64 [rows, context] each, of no stream, from dice of their own."""
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(model_cfg.vocab_size, (n_rows, model_cfg.context_length + 1), generator=rng).to(ctx.device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
