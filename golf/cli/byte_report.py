"""``golf prove --all --bytes`` writes what each byte costs, ``golf results --bytes`` shows it."""

import math
from pathlib import Path

import numpy as np

from golf.artifacts import lineage
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, PredictorError
from golf.evaluation import ledger
from golf.evaluation.byte_costs import ByteCosts, ByteCostSplitter

__all__ = ["ByteCollector", "render_byte_costs"]

_COSTS_DIR = Path("artifacts/prove")
_MAX_DIFF_NATS = 1e-2  # of a target, between its bytes and the ledger: the proof's tolerance for rounding is smaller
_N_PLACES = 6  # of bytes in a token that get a row of their own


class ByteCollector:
    """Splits the predictions of a proof among the bytes of the tokens, in the stream's order."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._vocab_size = tokenizer.vocab_size
        self._splitter = ByteCostSplitter(tokenizer.ids_to_bytes(np.arange(self._vocab_size)))
        self._events: list[np.ndarray] = []

    def add(self, log_probs_V: np.ndarray, token: int) -> None:
        """Split one prediction. Raises PredictorError for a row of another length than the vocabulary's."""
        if len(log_probs_V) != self._vocab_size:
            problem = f"predict gave {len(log_probs_V):,} probabilities, the vocabulary has {self._vocab_size:,}"
            raise PredictorError(f"{problem}; return one for each id")
        self._events.append(self._splitter.split_nll(log_probs_V, token))

    def save(self, ledger_path: Path, mode: str) -> Path:
        """Write the byte costs of a ledger whose every target was predicted; return the file's path."""
        path = _COSTS_DIR / f"bytes_{mode}.safetensors"
        n_bytes = np.array([len(events) - 1 for events in self._events], np.int32)
        costs = ByteCosts(np.concatenate(self._events).astype(np.float32), n_bytes)
        costs.save(path, mode=mode, ledger=str(ledger_path), ledger_sha256=lineage.hash_artifact(ledger_path))
        return path


def render_byte_costs(mode: str) -> str:
    """Return the table of byte costs: bits by place in the token, and the sum that equals the ledger's.

    Raises ArtifactError without their file, and for one whose ledger has changed.
    """
    path = _COSTS_DIR / f"bytes_{mode}.safetensors"
    if not path.is_file():
        raise ArtifactError(path, "not found", "write it with: golf prove --all --bytes")
    costs, metadata = ByteCosts.load(path)
    ledger_path = Path(str(metadata.get("ledger")))
    sealed, _ = ledger.read(ledger_path)
    if lineage.hash_artifact(ledger_path) != metadata.get("ledger_sha256"):
        raise ArtifactError(
            path, f"was made from another version of {ledger_path}", "run golf prove --all --bytes again"
        )
    by_target = costs.sum_by_target()
    if len(by_target) != len(sealed.nll) or np.abs(by_target - sealed.nll).max() > _MAX_DIFF_NATS:
        raise ArtifactError(
            path, f"its nats are not those of {ledger_path}", "write it again with: golf prove --all --bytes"
        )
    n_bytes = int(sealed.bytes.sum(dtype=np.int64))
    places = costs.tabulate_places(_N_PLACES)
    total_bits = sum(place.nats for place in places) / math.log(2)
    end_bits = places[-1].nats / math.log(2)
    lines = [f"{'place in token':<18}{'events':>12}{'bits each':>12}{'bpb':>10}{'share':>8}"]
    for place in places:
        if place.n_events:
            bits = place.nats / math.log(2)
            share = f"{bits / total_bits:.1%}"
            lines.append(
                f"{place.name:<18}{place.n_events:>12,}{bits / place.n_events:>12.4f}{bits / n_bytes:>10.4f}{share:>8}"
            )
    lines.append(f"{'all':<18}{len(costs.nats):>12,}{'':>12}{total_bits / n_bytes:>10.4f}{'100%':>8}")
    rest_bpb = (total_bits - end_bits) / n_bytes
    lines += [
        "",
        f"All events together are the {total_bits / n_bytes:.4f} bpb of mode {mode}: they cost what the tokens cost.",
        f"Without the ends the sum is {rest_bpb:.4f}. That is no score, as no decoder could find where tokens end.",
    ]
    return "\n".join(lines)
