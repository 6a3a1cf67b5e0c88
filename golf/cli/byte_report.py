"""``golf prove --all --bytes`` writes a reading of the scores byte by byte, ``golf results --bytes`` shows it."""

import math
from pathlib import Path

import numpy as np

from golf.artifacts import io, lineage
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, PredictorError
from golf.evaluation import ledger
from golf.evaluation.byte_reading import ByteReader, ByteReading

__all__ = ["READING_DIR", "ByteCollector", "render_reading"]

READING_DIR = Path("artifacts/prove")
_MAX_DIFF_NATS = 1e-2  # of a target, between the reading and the ledger: the proof's tolerance for rounding is smaller
_N_PLACES = 6  # of bytes in a token that get a row of their own


class ByteCollector:
    """Reads the predictions of a proof byte by byte, in the stream's order."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._vocab_size = tokenizer.vocab_size
        self._reader = ByteReader(tokenizer.ids_to_bytes(np.arange(self._vocab_size)))
        self._events: list[np.ndarray] = []

    def add(self, log_probs_V: np.ndarray, token: int) -> None:
        """Read one prediction. Raises PredictorError for a row of another length than the vocabulary's."""
        if len(log_probs_V) != self._vocab_size:
            problem = f"predict gave {len(log_probs_V):,} probabilities, the vocabulary has {self._vocab_size:,}"
            raise PredictorError(f"{problem}; return one for each id")
        self._events.append(self._reader.split_nll(log_probs_V, token))

    def save(self, ledger_path: Path, mode: str) -> Path:
        """Write the reading of a ledger whose every target was predicted; return the file's path."""
        path = READING_DIR / f"bytes_{mode}.safetensors"
        n_bytes = np.array([len(events) - 1 for events in self._events], np.int32)
        reading = ByteReading(np.concatenate(self._events).astype(np.float32), n_bytes)
        reading.save(path, mode=mode, ledger=str(ledger_path), ledger_sha256=lineage.artifact_sha256(ledger_path))
        return path


def render_reading(mode: str) -> str:
    """Return the table of a reading: bits by place in the token, and the sum that equals the ledger's.

    Raises ArtifactError without a reading, and for one whose ledger has changed.
    """
    path = READING_DIR / f"bytes_{mode}.safetensors"
    if not path.is_file():
        raise ArtifactError(path, "not found", "write it with: golf prove --all --bytes")
    reading, metadata = ByteReading.load(path)
    ledger_path = Path(str(metadata.get("ledger")))
    sealed, _ = ledger.read(ledger_path)
    if lineage.artifact_sha256(ledger_path) != metadata.get("ledger_sha256"):
        raise ArtifactError(path, f"is a reading of another {ledger_path}", "run golf prove --all --bytes again")
    by_target = reading.sum_by_target()
    if len(by_target) != len(sealed.nll) or np.abs(by_target - sealed.nll).max() > _MAX_DIFF_NATS:
        raise ArtifactError(path, f"its nats are not those of {ledger_path}", io.RERUN_HINT)
    n_bytes = int(sealed.bytes.sum(dtype=np.int64))
    places = reading.tabulate_places(_N_PLACES)
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
    lines.append(f"{'all':<18}{len(reading.nats):>12,}{'':>12}{total_bits / n_bytes:>10.4f}{'100%':>8}")
    rest_bpb = (total_bits - end_bits) / n_bytes
    lines += [
        "",
        f"All events together are the {total_bits / n_bytes:.4f} bpb of mode {mode}: they cost what the tokens cost.",
        f"Without the ends the sum is {rest_bpb:.4f}. That is no score, as no decoder could find where tokens end.",
    ]
    return "\n".join(lines)
