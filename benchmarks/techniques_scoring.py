"""Score dev with a packed model, as evaluate scores val, without sandbox and proof: ``techniques.py`` runs it.

Runs in a folder with params.yaml and artifacts/; writes the mode's ledger and its seconds.
"""

import sys
from pathlib import Path

from golf.artifacts import io
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed import device
from golf.evaluation import scoring_loop
from golf.inference.predictor import GolfPredictor
from golf.model import attention_backends

__all__ = ["ARTIFACT", "score_dev"]

ARTIFACT = "artifacts/compress/model.golf"
_DEV, _TOKENIZER = "artifacts/fetch/dev", "artifacts/fetch/tokenizer.model"


def score_dev(mode: str, folder: Path) -> None:
    """Write ``folder``/ledger.safetensors and ``folder``/score.json: bpb and seconds."""
    cfg = loader.load_config()
    ctx = device.init_context(cfg.evaluate, "evaluate", attention_backends.resolve_attention)
    stream = EvalStream.from_split(split_reader.open_split(_DEV, cfg.model.vocab_size), Tokenizer.open(_TOKENIZER))
    result = scoring_loop.evaluate_mode(
        GolfPredictor.open(ARTIFACT, ctx, eval_batch_tokens=cfg.evaluate.eval_batch_tokens),
        stream,
        mode,
        ttt_cfg=TTTPlan.from_sections(cfg.ttt, cfg.lora, cfg.phased),
        memory_cfg=cfg.memory,
        stride=cfg.evaluate.stride,
        context_length=cfg.model.context_length,
        order=cfg.evaluate.order,
        quiet=False,
        stage="score",
    )
    folder.mkdir(parents=True, exist_ok=True)
    result.ledger.save(folder / "ledger.safetensors", stream="dev")
    io.write_json(folder / "score.json", {"bpb": result.score.bpb, "seconds": round(result.seconds, 3)})


if __name__ == "__main__":
    score_dev(sys.argv[1], Path("artifacts/score"))
