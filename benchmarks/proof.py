"""Time the proof beside the pass that it proves. ``PYTHONPATH=. python benchmarks/proof.py --help``

The headline's pass over the first chunks of a stream, its proof and the ablations, each in a session of the sandbox, as
``stages/evaluate.py`` runs them, on one rank of a CPU. Without --artifact, weights and tokens are random, and the model
is that of the profile. The pass is timed without opening the predictor, so shares are upper bounds; those of few chunks
are larger than those of a whole stream, because opening and ablations cost the same for each.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import hardware
import numpy as np
import torch

from golf.artifacts import io
from golf.compliance import ablations, evaluation_run
from golf.compliance.proof import FORGED_FRAC, TOLERANCES
from golf.compression import writer
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.config.loader import Config
from golf.config.sections import EvaluateConfig
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.evaluation import scoring_loop
from golf.evaluation.sandbox.host import Sandbox
from golf.model.gpt import GPT

SEED = "0a1b"  # of the places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="params.yaml", help="settings (params.yaml)")
    parser.add_argument("--artifact", help="a .golf file of the profile's model (random weights)")
    parser.add_argument("--split", help="a folder of fetch, such as artifacts/fetch/val (random tokens)")
    parser.add_argument("--chunks", type=int, help="chunks of the stream (all of --split, or 3)")
    parser.add_argument("--chunk-tokens", type=int, help="targets of a chunk (ttt.chunk_tokens)")
    parser.add_argument("--compile", default="off", choices=("on", "off"), help="evaluate.compile (off)")
    parser.add_argument("--dtype", default="float32", choices=tuple(TOLERANCES), help="evaluate.dtype (float32)")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    cfg = loader.load_config(args.profile)
    ttt_cfg = TTTPlan.from_sections(cfg.ttt, cfg.lora, cfg.phased)
    chunk_tokens = args.chunk_tokens or ttt_cfg.chunk_tokens
    batch_tokens = min(ttt_cfg.batch_tokens, chunk_tokens)
    ttt_cfg = dataclasses.replace(ttt_cfg, ranks=1, chunk_tokens=chunk_tokens, batch_tokens=batch_tokens)
    stream = make_stream(args.split, cfg, args.chunks, chunk_tokens)
    with tempfile.TemporaryDirectory() as folder:
        artifact = args.artifact or write_random_artifact(Path(folder), cfg)
        execution = {"device": "cpu", "ranks": 1, "attention": "auto", "compile": args.compile, "dtype": args.dtype}
        evaluate_cfg = dataclasses.replace(
            cfg.evaluate, artifact=str(artifact), limit_s=None, headline="ttt", **execution
        )
        row = measure(evaluate_cfg, ttt_cfg, cfg, stream)
    print(render(row))
    if args.json:
        metadata = {key: value for key, value in vars(args).items() if key != "json"}
        io.write_json(args.json, hardware.describe_machine(torch.device("cpu")) | metadata | row)


def make_stream(split: str | None, cfg: Config, n_chunks: int | None, chunk_tokens: int) -> EvalStream:
    """The first chunks of a split, or random tokens of one byte each."""
    if split is None:
        rng = np.random.default_rng(0)
        tokens = rng.integers(2, cfg.model.vocab_size, (n_chunks or 3) * chunk_tokens + 1).astype(np.uint16)
        tokens[0] = 1
        return EvalStream(tokens, np.ones(len(tokens) - 1, np.int64), 1)
    token_split = split_reader.open_split(split, cfg.model.vocab_size)
    tokens = token_split.read_tokens()[: None if n_chunks is None else n_chunks * chunk_tokens + 1]
    return EvalStream(tokens, np.ones(len(tokens) - 1, np.int64), token_split.bos)


def write_random_artifact(folder: Path, cfg: Config) -> Path:
    """A .golf file of the configured model."""
    rng = torch.Generator().manual_seed(0)
    state_dict = GPT(cfg.model).init_weights(rng).state_dict()
    tensors = {
        name: (tensor + torch.randn(tensor.shape, generator=rng) * 0.02).half() for name, tensor in state_dict.items()
    }
    data = writer.pack(tensors, cfg.model, upstream_splits=("train",), codec="brotli", brotli_quality=1)
    (folder / "model.golf").write_bytes(data)
    return folder / "model.golf"


def measure(cfg: EvaluateConfig, ttt_cfg: TTTPlan, full_cfg: Config, stream: EvalStream) -> dict[str, Any]:
    """Seconds of each part, and what the proof could see."""
    context_length = full_cfg.model.context_length
    pass_args = {"ttt_cfg": ttt_cfg, "memory_cfg": full_cfg.memory, "stride": cfg.stride, "order": cfg.order}
    pass_args |= {"context_length": context_length}
    with Sandbox(cfg) as sandbox:
        start = time.perf_counter()
        with sandbox.session() as session:
            opened = time.perf_counter()
            result = scoring_loop.evaluate_mode(session, stream, "ttt", quiet=False, stage="headline", **pass_args)
        sealed = result.ledger.to_data()
        proven, _ = evaluation_run.run_proof(
            sandbox, stream.tokens, sealed, result.settings, places_per_chunk=cfg.proof_places, seed=SEED
        )
        probe_start = time.perf_counter()
        with sandbox.session() as session:
            probe_slice = ablations.ProbeSlice.sample(
                stream.tokens, stream.bos, context_length, np.random.default_rng(0)
            )
            ablations.run_ablations(session, probe_slice, result.settings, "")
        probe_s = time.perf_counter() - probe_start
    comparison, tolerances = proven.comparison, TOLERANCES[cfg.dtype]
    return {
        "chunks": result.settings.n_chunks,
        "targets": stream.n_targets,
        "places": comparison.n_places,
        "open_s": opened - start,
        "headline_s": result.seconds,
        "proof_s": proven.predict_s,
        "replay_s": proven.replay_s,
        "probe_s": probe_s,
        "proof_and_probe_share": (proven.predict_s + probe_s) / result.seconds,
        "whole_share": (proven.predict_s + proven.replay_s + probe_s) / result.seconds,
        "largest_difference_nats": comparison.max_diff,
        "smallest_detectable_discount_nats": comparison.smallest_detectable_discount(tolerances.mean_nats),
        "detection_of_1_percent_forged": comparison.probability_of_detection(FORGED_FRAC),
        "failures": proven.find_failures(tolerances, full_cfg.model.vocab_size),
    }


def render(row: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"headline      {row['headline_s']:.1f} s for {row['targets']:,} targets in {row['chunks']} chunks",
            f"proof         {row['proof_s']:.1f} s for opening and {row['places']:,} predictions",
            f"ablations     {row['probe_s']:.1f} s",
            f"both          {row['proof_and_probe_share']:.1%} of the headline",
            f"replay        {row['replay_s']:.1f} s for learning again",
            f"all           {row['whole_share']:.1%} of the headline",
            f"would show    a discount of {row['smallest_detectable_discount_nats']:.1e} nats; "
            f"{FORGED_FRAC:.0%} forged with {row['detection_of_1_percent_forged']:.1%}",
            f"differences   up to {row['largest_difference_nats']:.1e} nats; "
            f"{row['failures'] or 'nothing contradicts'}",
        ]
    )


if __name__ == "__main__":
    main()
