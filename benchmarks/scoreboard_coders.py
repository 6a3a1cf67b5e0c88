"""The coders of the scoreboard other than golf: primed compressors, Kneser-Ney, the plain GPT."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compressors
import kneser_ney
import ngram_file
import numpy as np
import plain_gpt
import plain_gpt_training
from compressors import COMPRESSORS, PARTS, Settings
from plain_gpt_training import GptSettings
from scoreboard_data import SEPARATOR, ScoreboardData, Scores, weigh_files, weigh_functions
from scoreboard_jobs import Job, Stopwatch, UnavailableRowError, cached_selection

from golf.artifacts import io
from golf.config.loader import Config
from golf.distributed import device
from golf.distributed.context import DistContext, single_process
from golf.errors import GolfError
from golf.model import attention_backends

BENCHMARKS = Path(__file__).parent
SELECTION_LIMIT_BYTES = 250_000  # where the part of train and the setting of a slow compressor are chosen
_SELECTION_SLACK_FRAC = 0.01  # of the limit, left unused while choosing
_FIT_SLACK_FRAC = 0.002
_MAX_ORDER = 5
_BIN_WIDTHS = (0.35, 0.5)  # of Kneser-Ney's log weights, tried on dev
_EVAL_BATCH_TOKENS = 16_384


def _with_most_memory(settings: Settings) -> Settings:
    """For PPMd, so that no trial restarts."""
    return settings | ({"memory_bytes": compressors.MAX_MEMORY_BYTES} if "memory_bytes" in settings else {})


def hash_sources(*names: str) -> dict[str, str]:
    """sha256 of files of this folder, and of those that every row depends on."""
    shared = ("scoreboard_coders.py", "scoreboard_data.py")
    return {name: io.sha256_file(BENCHMARKS / name) for name in (*names, *shared)}


class CompressorCoder:
    """A compressor, primed with as much of train as fits, or cold."""

    def __init__(self, name: str, data: ScoreboardData, work: Path) -> None:
        self._compressor, self._data = COMPRESSORS[name], data
        self._selection_folder = work / "selections"
        self.title, self._name = self._compressor.title, name
        self._sizes: dict[tuple[str, bytes], int] = {}
        self._ratio = compressors.FIRST_RATIO  # of the last prime, the guess for the next

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        version = self._compressor.find_version()
        if version is None:
            raise UnavailableRowError(f"{self._compressor.package} is not installed; pip install -e '.[bench]'")
        return {"splits": self._data.digests(), "version": version, "sources": hash_sources("compressors.py")}

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        watch = Stopwatch()
        code_bytes = weigh_functions(self._compressor.glue)
        selection_limit = self._selection_limit(job.limit_bytes)
        selection = cached_selection(
            self._selection_folder / f"{self._name}@{selection_limit}.json",
            self.describe_inputs(job) | {"limit": selection_limit},
            lambda: self._select(selection_limit, code_bytes),
        )
        settings = _with_most_memory(selection["settings"])
        prime = b""
        if job.limit_bytes is not None:
            pool = self._make_pool(selection["part"])
            prime = self._fit(settings, pool, job.limit_bytes - code_bytes, _FIT_SLACK_FRAC)
        if "memory_bytes" in settings:
            stream = compressors.join_stream(prime, self._data.dev.join(), SEPARATOR)
            memory_bytes = compressors.find_memory(lambda n: self._measure_size(settings | {"memory_bytes": n}, stream))
            settings = settings | {"memory_bytes": memory_bytes}
        tune_seconds, watch = watch.read(), Stopwatch()
        packed = self._compressor.compress(prime, **settings)
        seconds = watch.read()
        io.write_bytes(folder / "prime.txt", prime)
        io.write_json(folder / "settings.json", {"settings": settings, "prime_size": len(packed)})
        dev_bits = self._measure_cost(settings, prime, self._data.dev.join())
        return {
            "settings": settings | {"part": selection["part"] if prime else None, "prime_bytes": len(prime)},
            "dev_bpb": dev_bits / self._data.dev.n_bytes,
            "model_bytes": len(packed) if prime else 0,
            "code_bytes": code_bytes,
            "seconds": seconds if prime else 0.0,
            "tune_seconds": tune_seconds,
        }

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        stored, prime = io.read_json(folder / "settings.json"), (folder / "prime.txt").read_bytes()
        settings, prime_size = stored["settings"], stored["prime_size"]
        val, code_pieces = self._data.val, self._compressor.code_pieces
        watch = Stopwatch()
        if code_pieces is None:
            stream = compressors.join_stream(prime, val.join(), SEPARATOR)
            bits = 8 * (self._measure_size(settings, stream) - prime_size)
            scores = Scores(np.array([bits]), None)
        else:
            pieces = [piece for piece, _, _ in val.iter_pieces()]
            code = functools.partial(code_pieces, **settings)
            scores = val.score_pieces(compressors.measure_pieces(code, prime, prime_size, pieces, SEPARATOR))
        return {"": val.to_json(scores) | {"seconds": watch.read()}}

    def _selection_limit(self, limit_bytes: int | None) -> int | None:
        is_chosen_anew = limit_bytes is None or self._compressor.is_fast
        return limit_bytes if is_chosen_anew else min(limit_bytes, SELECTION_LIMIT_BYTES)

    def _select(self, limit_bytes: int | None, code_bytes: int) -> dict[str, Any]:
        """The part of train whose end is the best prime for dev, by the first setting; then the best setting."""
        table: list[dict[str, Any]] = []

        def measure(part: str, settings: Settings) -> float:
            tried, prime = _with_most_memory(settings), b""
            if limit_bytes is not None:
                prime = self._fit(tried, self._make_pool(part), limit_bytes - code_bytes, _SELECTION_SLACK_FRAC)
            dev_bpb = self._measure_cost(tried, prime, self._data.dev.join()) / self._data.dev.n_bytes
            table.append({"part": part, **settings, "dev_bpb": dev_bpb})
            return dev_bpb

        first, *others = self._compressor.settings
        scores = {(part, 0): measure(part, first) for part in (PARTS if limit_bytes is not None else PARTS[:1])}
        part, _ = min(scores, key=scores.__getitem__)
        scores |= {(part, i): measure(part, settings) for i, settings in enumerate(others, 1)}
        part, index = min(scores, key=scores.__getitem__)
        return {"part": part, "settings": self._compressor.settings[index], "table": table}

    def _make_pool(self, part: str) -> bytes:
        return compressors.make_pool(self._data.train.documents, self._data.dev.documents, part, SEPARATOR)

    def _fit(self, settings: Settings, pool: bytes, limit_bytes: int, slack_frac: float) -> bytes:
        measure_size = functools.partial(self._measure_size, settings)
        prime = compressors.fit_prime(measure_size, pool, limit_bytes, ratio=self._ratio, slack_frac=slack_frac)
        if prime:
            self._ratio = len(prime) / measure_size(prime)
        return prime

    def _measure_size(self, settings: Settings, text: bytes) -> int:
        """Bytes of ``text`` after compression, measured once."""
        key = json.dumps(settings, sort_keys=True), hashlib.sha256(text).digest()
        if key not in self._sizes:
            self._sizes[key] = len(self._compressor.compress(text, **settings))
        return self._sizes[key]

    def _measure_cost(self, settings: Settings, prime: bytes, text: bytes) -> int:
        measure_size = functools.partial(self._measure_size, settings)
        return compressors.measure_cost(measure_size, prime, measure_size(prime), text, SEPARATOR)


class KneserNeyCoder:
    """Modified Kneser-Ney of order 5, pruned to the limit."""

    title = f"modified Kneser-Ney, order {_MAX_ORDER}"

    def __init__(self, data: ScoreboardData) -> None:
        self._data = data

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        return {"splits": self._data.digests(), "sources": hash_sources("kneser_ney.py", "ngram_file.py")}

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        watch = Stopwatch()
        tokenizer, train, dev = self._data.tokenizer, self._data.train.stream, self._data.dev
        code_bytes = weigh_files("ngram_file.py", root=BENCHMARKS)
        levels = kneser_ney.count_ngrams(train.tokens, tokenizer.bos, tokenizer.vocab_size, _MAX_ORDER)
        count_seconds = watch.read()
        candidates = []
        for width in _BIN_WIDTHS:
            watch = Stopwatch()
            packed = kneser_ney.fit(levels, tokenizer.vocab_size, job.limit_bytes - code_bytes, width)
            if not packed:
                raise GolfError(f"no n-gram model fits in {job.limit_bytes - code_bytes:,} bytes; raise --limits")
            model = ngram_file.unpack(packed)
            nll = model.score(dev.stream.tokens, tokenizer.bos)
            dev_bpb = dev.to_json(dev.score_tokens(nll))["bpb"]
            counts = [len(model.unigrams), *(len(level.keys) for level in model.levels)]
            candidates.append((dev_bpb, {"width": width, "ngrams": counts}, packed, watch.read()))
        dev_bpb, settings, packed, seconds = min(candidates, key=lambda candidate: candidate[0])
        io.write_bytes(folder / "model.ngrams", packed)
        return {
            "settings": settings,
            "dev_bpb": dev_bpb,
            "model_bytes": len(packed),
            "code_bytes": code_bytes,
            "seconds": round(count_seconds + seconds, 3),
            "tune_seconds": round(sum(candidate[3] for candidate in candidates) - seconds, 3),
        }

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        val, bos = self._data.val, self._data.tokenizer.bos
        watch = Stopwatch()
        nll = ngram_file.unpack((folder / "model.ngrams").read_bytes()).score(val.stream.tokens, bos)
        return {"": {"seconds": watch.read()} | val.to_json(val.score_tokens(nll))}


class GptCoder:
    """The plain GPT.

    cfg: of the default run. find_budget: returns the seconds of its training. tune_frac: of these, for each short run.
    """

    title = "plain GPT, AdamW"

    def __init__(
        self, data: ScoreboardData, cfg: Config, work: Path, find_budget: Callable[[], float], tune_frac: float
    ) -> None:
        self._data, self._cfg, self._find_budget, self._tune_frac = data, cfg, find_budget, tune_frac
        self._selection_path = work / "selections" / "gpt.json"

    def describe_inputs(self, job: Job) -> dict[str, Any]:
        sources = hash_sources("plain_gpt.py", "plain_gpt_training.py")
        budget = {"seconds": self._budget(job), "tune_seconds": self._tune_s()}
        return {"splits": self._data.digests(), "sources": sources, "execution": self._execution()} | budget

    def _budget(self, job: Job) -> float:
        return self._find_budget() if job.minutes is None else 60 * job.minutes

    def _tune_s(self) -> float:
        return round(self._tune_frac * self._find_budget(), 3)

    def _execution(self) -> dict[str, Any]:
        train = self._cfg.train
        keys = ("device", "dtype", "compile", "batch_tokens")
        return {key: getattr(train, key) for key in keys} | {"context_length": self._cfg.model.context_length}

    def build(self, job: Job, folder: Path) -> dict[str, Any]:
        watch = Stopwatch()
        tokenizer, train_cfg = self._data.tokenizer, self._cfg.train
        ctx = device.init_context(train_cfg, "train", attention_backends.resolve_attention)
        code_bytes = weigh_files("plain_gpt.py", root=BENCHMARKS)
        limit_bytes = job.limit_bytes - code_bytes
        base = GptSettings(0, 0.0, self._tune_s(), self._cfg.model.context_length, train_cfg.batch_tokens)

        def select() -> dict[str, Any]:
            options = {"vocab_size": tokenizer.vocab_size, "limit_bytes": limit_bytes, "base": base, "ctx": ctx}
            chosen, table = plain_gpt_training.choose(self._data.train, dev_bpb=self._measure_dev, **options)
            return {"d_model": chosen.d_model, "lr": chosen.lr, "table": table}

        inputs = self.describe_inputs(job) | {"limit": limit_bytes, "seconds": None}
        selection = cached_selection(self._selection_path, inputs, select)
        settings = GptSettings(
            selection["d_model"], selection["lr"], self._budget(job), base.context_length, base.batch_tokens
        )
        tune_seconds = watch.read()
        tokens = self._data.train.stream.tokens
        model, n_steps, seconds = plain_gpt_training.train(tokens, tokenizer.vocab_size, settings, ctx)
        packed, level = plain_gpt_training.fit(model, limit_bytes)
        if not packed:
            raise GolfError(
                f"no rounding of {settings.d_model} dimensions fits in {limit_bytes:,} bytes; raise --limits"
            )
        io.write_bytes(folder / "model.gpt", packed)
        return {
            "settings": {"d_model": settings.d_model, "lr": settings.lr, "level": round(level, 2), "steps": n_steps},
            "dev_bpb": self._measure_dev(plain_gpt.unpack(packed)),
            "model_bytes": len(packed),
            "code_bytes": code_bytes,
            "seconds": round(seconds, 3),
            "tune_seconds": tune_seconds,
        }

    def _measure_dev(self, model: plain_gpt.PlainGPT) -> float:
        dev = self._data.dev
        nll = plain_gpt.score(model, dev.stream.tokens, self._cfg.model.context_length, _EVAL_BATCH_TOKENS)
        return dev.to_json(dev.score_tokens(nll))["bpb"]

    def score(self, job: Job, folder: Path) -> dict[str, dict[str, Any]]:
        val, results = self._data.val, {}
        model = plain_gpt.unpack((folder / "model.gpt").read_bytes()).to(self._scoring_context().device)
        for mode, stride in (("plain", self._cfg.model.context_length), ("sliding", self._cfg.evaluate.stride)):
            watch = Stopwatch()
            nll = plain_gpt.score(model, val.stream.tokens, stride, _EVAL_BATCH_TOKENS)
            results[mode] = {"seconds": watch.read()} | val.to_json(val.score_tokens(nll))
        return results

    def _scoring_context(self) -> DistContext:
        return single_process(str(device.resolve_device(self._cfg.evaluate.device, "evaluate", 0)[0]))
