"""Open an artifact by ``golf.load("model.golf")`` to score text, to predict and to generate.

It computes on the CPU in fp32, neither adapts nor remembers, and sees the last tokens within the model's context alone.
Its nll are those of evaluate's ledgers: with a stride of the context length those of plain windows, with
``evaluate.stride`` those of sliding windows.
"""

# n tokens, V vocabulary, T = context_length; position p of a text's tokens predicts token p + 1

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golf.artifacts import json_records
from golf.config.model import ModelConfig
from golf.data import normalize, transforms
from golf.data.tokenizer import Tokenizer
from golf.distributed.context import single_process
from golf.errors import DivergenceError, InputError
from golf.evaluation.sampling import SamplingConfig, TextStream, TokenSampler
from golf.evaluation.text_codec.next_token import IncrementalSource
from golf.inference.predictor import GolfPredictor
from golf.inference.windows import list_windows
from golf.model.gpt import GPT

__all__ = ["DEFAULT_STRIDE", "GeneratedToken", "LoadedModel", "TextScore", "load", "read_transform_name"]

DEFAULT_STRIDE = 64  # tokens by which windows advance, as in PR #1493
_EVAL_BATCH_TOKENS = 1 << 13
_RETRAIN_HINT = "the artifact's weights diverged; train again with a lower rate"


@dataclass(frozen=True)
class TextScore:
    """What a text costs.

    tokens: uint16 [n + 1], the id that starts a document first. nll: nats of each token after that one, fp32 [n].
    n_bytes: of the normalized text in UTF-8, by which the challenge divides.
    """

    tokens: np.ndarray
    nll: np.ndarray
    n_bytes: int

    @property
    def total(self) -> float:
        """Nats of the whole text."""
        return float(self.nll.sum(dtype=np.float64))

    @property
    def bits_per_byte(self) -> float | None:
        """None for a text without a byte."""
        return self.total / math.log(2) / self.n_bytes if self.n_bytes else None


@dataclass(frozen=True)
class GeneratedToken:
    """token: its id. text: what is complete with it, "" within a character. log_prob: the model's own, in nats."""

    token: int
    text: str
    log_prob: float


class LoadedModel:
    """An artifact with its tokenizer. ``load`` opens it.

    network: the GPT, fp32 on the CPU. config: its dimensions. tokenizer: whose ids it reads and predicts.
    transform_name: of ``golf.data.transforms``, applied to a text before the tokenizer.
    upstream_splits: of the data, those that influenced the weights.
    """

    def __init__(self, predictor: GolfPredictor, tokenizer: Tokenizer, transform_name: str) -> None:
        self.network: GPT = predictor.model
        self.config: ModelConfig = predictor.model.cfg
        self.tokenizer, self.transform_name = tokenizer, transform_name
        self.upstream_splits = predictor.header.upstream_splits if predictor.header else ()
        self._predictor, self._transform = predictor, transforms.get_transform(transform_name)
        special = [tokenizer.is_special(token) and token != tokenizer.bos for token in range(tokenizer.vocab_size)]
        self._is_never_generated = np.array(special)

    def normalize(self, text: str) -> str:
        """Return a text as golf normalizes every text that it trains on and scores (``golf.data.normalize``).

        Raises InputError for half a surrogate pair, which stands for a byte that is no UTF-8.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the text is not Unicode at character {error.start:,}; give it as UTF-8") from None
        return normalize.normalize(text)

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of one document, uint16 [n + 1]: the id that starts a document, then those of the text.

        The text is normalized. Raises InputError as ``normalize`` does.
        """
        return self._tokenize(self.normalize(text))

    def _tokenize(self, normalized: str) -> np.ndarray:
        (tokens,) = self.tokenizer.encode([self._transform.encode(normalized)])
        return tokens

    def nll(self, text: str, *, stride: int = DEFAULT_STRIDE) -> TextScore:
        """Score a text as one document, in nats.

        stride: tokens by which windows advance, cut to the context length, which gives plain windows.
        Raises InputError for a stride below 1, DivergenceError for a score that is not finite.
        """
        normalized = self.normalize(text)
        tokens = self._tokenize(normalized)
        self._predictor.reset(stride=self._limit_stride(stride))
        nll = self._predictor.score(tokens[:1], tokens[1:]) if len(tokens) > 1 else np.zeros(0, np.float32)
        if not np.isfinite(nll).all():
            raise DivergenceError(
                f"the nll of token {1 + int(np.isfinite(nll).argmin())} is not finite: {_RETRAIN_HINT}"
            )
        return TextScore(tokens, nll, len(normalized.encode()))

    @torch.no_grad()
    def logprobs(self, tokens: Sequence[int] | np.ndarray, *, stride: int = DEFAULT_STRIDE) -> np.ndarray:
        """Return the log-probabilities of the token after each of ``tokens``, in nats: fp32 [n, V].

        tokens: ids [n], such as ``encode`` returns; the stream starts with the first. stride: as in ``nll``.
        Raises InputError for ids that the model does not have and for a stride below 1.
        """
        ids = self._check_tokens(tokens)
        windows = list_windows(
            0, len(ids), context_length=self.config.context_length, stride=self._limit_stride(stride)
        )
        rows = [np.zeros((0, self.config.vocab_size), np.float32)]
        for window in windows:
            inputs, last_n = ids[None, window.start : window.score_to], window.score_to - window.score_from
            logits = self.network.logits(self.network(inputs, recurrent=True, last_n=last_n))
            rows.append(logits[0].log_softmax(-1).numpy())
        return np.concatenate(rows)

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        stride: int = DEFAULT_STRIDE,
    ) -> Iterator[GeneratedToken]:
        """Continue a prompt token by token, until the document ends or ``max_tokens`` are drawn.

        The end of a document is the id that starts the next one, which comes last and has no text of its own. A prompt
        longer than the context is allowed; the model sees its last tokens. The same arguments give the same tokens on
        the same machine. stride: tokens by which the window advances once it is full, cut to the context length.
        Raises InputError for a value out of range (``SamplingConfig``), DivergenceError for a distribution that is not
        finite.
        """
        sampling = SamplingConfig(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
        return self._generate(self.encode(prompt), sampling, self._limit_stride(stride))

    def _generate(self, prompt: np.ndarray, sampling: SamplingConfig, stride: int) -> Iterator[GeneratedToken]:
        n_prompt, sampler = len(prompt), TokenSampler(sampling)
        text_stream = TextStream(self.tokenizer, self.transform_name, is_continued=n_prompt > 1)
        tokens = np.concatenate([prompt, np.zeros(sampling.max_tokens, np.uint16)])
        source = IncrementalSource(self._predictor.reset(stride=stride), stride=stride)
        source.begin_chunk(n_prompt - 1, len(tokens) - 1)
        for n in range(n_prompt, len(tokens)):
            probs_V = source.next_probs(tokens, n)
            if not np.isfinite(probs_V[0]):  # one that is not finite makes all of them so
                raise DivergenceError(f"the distribution of token {n} is not finite: {_RETRAIN_HINT}")
            tokens[n] = token = sampler.draw(np.where(self._is_never_generated, 0.0, probs_V))
            is_end = token == self.tokenizer.bos
            text = text_stream.add(token, is_last=is_end or n == len(tokens) - 1)
            yield GeneratedToken(token, text, float(np.log(probs_V[token])))
            if is_end:
                return

    def _limit_stride(self, stride: int) -> int:
        if stride < 1:
            raise InputError(f"stride must be at least 1 token, got {stride}")
        return min(stride, self.config.context_length)

    def _check_tokens(self, tokens: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The ids as int64 [n]."""
        ids, n_ids = np.asarray(tokens), self.config.vocab_size
        if ids.ndim != 1 or not (ids.dtype.kind in "iu" or ids.size == 0):
            raise InputError(f"tokens must be a list of integers, got {ids.dtype} {list(ids.shape)}")
        if ids.size and not (ids.min() >= 0 and ids.max() < n_ids):
            raise InputError(f"tokens must be ids from 0 to {n_ids - 1:,}, got {ids.min()} to {ids.max()}")
        return torch.from_numpy(ids.astype(np.int64))


def load(artifact: Path | str, tokenizer: Path | str | None = None) -> LoadedModel:
    """Open an artifact, ``model.golf``, to score text, to predict and to generate.

    tokenizer: the SentencePiece model. None for ``tokenizer.model`` in the artifact's folder, or where the pipeline
    keeps it, ``../fetch/tokenizer.model`` from there. A manifest.json beside it names the transform of its texts.
    Raises ArtifactError for an artifact that is missing or damaged, InputError for a tokenizer that is missing or not
    the model's.
    """
    predictor = GolfPredictor.open(str(artifact), single_process(), eval_batch_tokens=_EVAL_BATCH_TOKENS)
    path = _find_tokenizer(Path(artifact)) if tokenizer is None else Path(tokenizer)
    opened, model_cfg = Tokenizer.open(path), predictor.model.cfg
    hint = "give the one that the artifact was trained with as the tokenizer"
    if opened.vocab_size != model_cfg.vocab_size:
        raise InputError(
            f"{path}: has {opened.vocab_size:,} pieces, but {artifact} predicts {model_cfg.vocab_size:,}; {hint}"
        )
    if model_cfg.doc_mask_bos_id not in (None, opened.bos):
        raise InputError(
            f"{path}: starts a document with id {opened.bos}, but {artifact} with {model_cfg.doc_mask_bos_id}; {hint}"
        )
    return LoadedModel(predictor, opened, read_transform_name(path))


def _find_tokenizer(artifact: Path) -> Path:
    folder = artifact.absolute().parent
    candidates = [folder / "tokenizer.model", folder.parent / "fetch" / "tokenizer.model"]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(f"{artifact}: no tokenizer is at {' or '.join(map(str, candidates))}; give its path")


def read_transform_name(tokenizer: Path) -> str:
    """Return the transform of a tokenizer's texts, which fetch's manifest beside it names; "none" without a manifest.

    Raises ArtifactError for a manifest that is damaged.
    """
    path = tokenizer.with_name("manifest.json")
    name: str = json_records.read_sealed(path, transform=str)["transform"] if path.is_file() else "none"
    return name
