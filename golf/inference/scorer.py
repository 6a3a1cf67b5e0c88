"""Sliding-window scoring: the nll of a chunk's tokens given what came before, with windows shared out over ranks."""

# R windows of a batch (rows), T = context_length, S scored tail of a window, D width, V vocabulary size

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.inference.windows import Window, list_windows
from golf.model.gpt import GPT

__all__ = ["Mix", "Scorer", "random_windows", "shift_mix"]

# From (the place behind a window's last scored token, among the chunk's; the model's nll of the scored tokens [n] or
# with hints [2, n]; the states of the window's positions up to there, fp32 [k, D]) to the nll that counts, fp32.
Mix = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


class Scorer:
    """Scores chunks with one model.

    Batches have two shapes only, so that at most two graphs are compiled: windows whose T targets all may count (the
    first of the stream), and windows of which only the last ``stride`` targets count (all others).
    """

    def __init__(self, model: GPT, ctx: DistContext, *, eval_batch_tokens: int, recurrent: bool = True):
        """eval_batch_tokens: input tokens of a batch on one rank. recurrent: run the model's recurrence."""
        self._model, self.ctx, self._recurrent = model, ctx, recurrent
        self._context_length = model.cfg.context_length
        self._eval_batch_tokens = eval_batch_tokens
        self.keeps_states = False  # of all positions of a window, for ``mix`` and ``predict``
        self.compiled_nll = ctx.maybe_compile(self._window_nll)

    def _window_nll(
        self, inputs_RT: torch.Tensor, targets_RS: torch.Tensor, hints_RS: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(the nll [R, S] or with hints [2, R, S], the states [R, S, D] or of all positions [R, T, D])"""
        n_scored = targets_RS.shape[1]
        with self.ctx.autocast():
            states = self._model(inputs_RT, recurrent=self._recurrent, last_n=None if self.keeps_states else n_scored)
            logits = self._model.logits(states[:, -n_scored:])
            if hints_RS is None:
                nll = F.cross_entropy(logits.flatten(0, 1), targets_RS.flatten(), reduction="none")
                return nll.view_as(targets_RS), states
            ids = torch.stack([targets_RS, hints_RS], -1)
            return -logits.log_softmax(-1).gather(-1, ids).movedim(-1, 0), states

    def _batch_rows(self, tail: int) -> int:
        """Windows of a batch. One that scores all T targets needs T / stride times the logits, so fewer of these."""
        return max(1, self._eval_batch_tokens // self._context_length // (8 if tail == self._context_length else 1))

    @torch.no_grad()
    def warm_up(self, *, stride: int, has_hints: bool = False) -> None:
        """Compile the graphs of a pass on random tokens, before the first chunk. Does nothing without compilation.

        has_hints: compile also what ``score`` runs with hints.
        """
        for tail in {self._context_length, stride} if self.ctx.compile else ():
            x_RT, y_RT = random_windows(self._model.cfg, self._batch_rows(tail), self.ctx)
            targets_RS = y_RT[:, -tail:].contiguous()
            self.compiled_nll(x_RT, targets_RS)
            if has_hints:
                self.compiled_nll(x_RT, targets_RS, targets_RS.clone())

    @torch.no_grad()
    def score(
        self,
        prefix: np.ndarray,
        chunk: np.ndarray,
        *,
        stride: int,
        hints: np.ndarray | None = None,
        mix: Mix | None = None,
    ) -> np.ndarray:
        """Return the nll of every token of ``chunk``, in nats: fp32 [len(chunk)], the same on every rank.

        prefix: the stream from its first token up to the chunk, at least one token. Windows lie where one pass over the
        whole stream would put them (``list_windows``). hints: other tokens at the chunk's places, whose nll are then
        the second row of the result: [2, len(chunk)]. mix: what turns the nll of each window into those that count; it
        needs ``keeps_states``.
        """
        token_offset, begin, windows, tokens = self._load_chunk(prefix, chunk, stride)
        shape: tuple[int, ...] = (len(chunk) + 1,)  # the last entry collects positions that do not count
        if hints is not None:
            shape, hint_ids = (2, *shape), torch.from_numpy(np.append(hints, 0).astype(np.int64)).to(self.ctx.device)
        nll = torch.zeros(shape, device=self.ctx.device)
        n_unscored = self._context_length - stride
        full_windows = [w for w in windows if w.score_from - w.start < n_unscored]
        tail_windows = [w for w in windows if w.score_from - w.start >= n_unscored]
        for group, tail in ((full_windows, self._context_length), (tail_windows, stride)):
            bounds = [(w.start, w.score_from, w.score_to) for w in group[self.ctx.rank :: self.ctx.world_size]]
            batch_rows = self._batch_rows(tail)
            if self.ctx.compile:  # a static graph needs whole batches: add windows that score nothing
                bounds += [(token_offset, 0, 0)] * (-len(bounds) % batch_rows)
            for i in range(0, len(bounds), batch_rows):
                batch = torch.tensor(bounds[i : i + batch_rows], device=self.ctx.device)
                start, score_from, score_to = batch[:, :, None].unbind(1)
                index = start - token_offset + torch.arange(self._context_length + 1, device=self.ctx.device)
                # Zeros fill a window beyond the chunk's end. Attention is causal, so they change no scored position.
                ids = torch.where(index < len(tokens), tokens[index.clamp_max(len(tokens) - 1)], 0)
                positions = (index + token_offset)[:, self._context_length - tail : -1]
                is_scored = (score_from <= positions) & (positions < score_to)
                rows = torch.where(is_scored, positions - begin, len(chunk))
                others = () if hints is None else (hint_ids[rows],)
                nll[..., rows], states = self.compiled_nll(
                    ids[:, :-1].contiguous(), ids[:, self._context_length + 1 - tail :].contiguous(), *others
                )
                if mix is None:
                    continue
                for bound, states_TD in zip(bounds[i : i + batch_rows], states, strict=True):
                    at, n_positions = slice(bound[1] - begin, bound[2] - begin), bound[2] - bound[0]
                    if bound[1] < bound[2]:
                        mixed = mix(at.stop, nll[..., at].cpu().numpy(), states_TD[:n_positions].float().cpu().numpy())
                        nll[..., at] = torch.from_numpy(mixed)
        return self.ctx.all_reduce(nll[..., :-1].contiguous()).cpu().numpy()

    def _load_chunk(
        self, prefix: np.ndarray, chunk: np.ndarray, stride: int
    ) -> tuple[int, int, list[Window], torch.Tensor]:
        """(first position whose token is needed, the chunk's first position, its windows, the tokens from there on)."""
        begin = len(prefix) - 1
        token_offset = max(0, begin - self._context_length)
        tokens = torch.from_numpy(np.concatenate([prefix[token_offset:], chunk]).astype(np.int64)).to(self.ctx.device)
        windows = list_windows(begin, begin + len(chunk), context_length=self._context_length, stride=stride)
        return token_offset, begin, windows, tokens

    @torch.no_grad()
    def predict(self, prefix: np.ndarray, *, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-probabilities of the token after ``prefix``, fp32 [V], as ``score`` uses them, and states.

        The states, fp32 [k, D], are those of the window's positions up to the one that predicts this token, which is
        the only one without ``keeps_states``.
        """
        placeholder = np.zeros(1, prefix.dtype)  # stands for that token; the model reads the tokens before it only
        token_offset, begin, (window,), tokens = self._load_chunk(prefix, placeholder, stride)
        inputs = tokens[None, window.start - token_offset : begin + 1 - token_offset]
        with self.ctx.autocast():
            states = self._model(inputs, recurrent=self._recurrent, last_n=None if self.keeps_states else 1)
            logits = self._model.logits(states[:, -1:])
        return logits[0, -1].log_softmax(-1).cpu().numpy(), states[0].float().cpu().numpy()

    @torch.no_grad()
    def compute_states(self, tokens: np.ndarray) -> np.ndarray:
        """Return the states that predict each of ``tokens`` after the first: fp32 [n, D], the same on every rank.

        Windows begin at the first token and do not overlap, so this costs a part of what scoring does.
        """
        n, length = len(tokens) - 1, min(self._context_length, len(tokens) - 1)
        ids = torch.zeros(-(-n // length) * length, dtype=torch.int64)
        ids[:n] = torch.from_numpy(tokens[:-1].astype(np.int64))
        rows_RT = ids.view(-1, length).to(self.ctx.device)
        states = torch.zeros(*rows_RT.shape, self._model.cfg.d_model, device=self.ctx.device)
        batch_rows = max(1, self._eval_batch_tokens // length)
        own_rows = range(self.ctx.rank, len(rows_RT), self.ctx.world_size)
        for i in range(0, len(own_rows), batch_rows):
            at = own_rows[i : i + batch_rows]
            with self.ctx.autocast():
                states[[*at]] = self._model(rows_RT[[*at]], recurrent=self._recurrent).float()
        return self.ctx.all_reduce(states).flatten(0, 1)[:n].cpu().numpy()


def shift_mix(mix: Mix | None, n_tokens: int) -> Mix | None:
    """Return a chunk's ``mix`` for the part of the chunk after its first ``n_tokens``."""
    return None if mix is None else lambda end, nll, states: mix(end + n_tokens, nll, states)


def random_windows(model_cfg: ModelConfig, n_rows: int, ctx: DistContext) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets for compilation, int64 [n_rows, T] each: random ids from a generator of their own."""
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(model_cfg.vocab_size, (n_rows, model_cfg.context_length + 1), generator=rng).to(ctx.device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
