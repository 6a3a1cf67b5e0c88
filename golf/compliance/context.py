"""The evaluation context: everything that the checks read, gathered in one object after the passes have run."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import json_records, lineage
from golf.artifacts.json_records import PositiveCount, Sha256
from golf.compliance.evaluation_run import EvaluationRun
from golf.compliance.provenance import ArtifactProvenance, Origin
from golf.config.sections import EvaluateConfig
from golf.data import split_reader
from golf.data.contamination import measure_contamination
from golf.data.eval_stream import EvalStream
from golf.data.roundtrip import RoundtripReport, check_roundtrip
from golf.data.split_reader import TokenSplit
from golf.data.tokenizer import Tokenizer
from golf.evaluation import ledger, mode_results
from golf.evaluation.fence.restrictions import FenceRecord
from golf.evaluation.ledger import LedgerData
from golf.evaluation.sandbox.host import Sandbox
from golf.evaluation.scoring_loop import MODES, ModeResult
from golf.pipeline.timing import describe_hardware

__all__ = ["ArtifactSize", "EvaluationContext", "ValidationData"]

_ACCESS_KINDS = ("files", "sockets", "commands")  # of an access report


@dataclass(frozen=True)
class ValidationData:
    """The text that is scored, and what it is compared with.

    index_sha256: of val's index. roundtrip: val decoded back to text. train_index, dev_index: the index.json of the
    other splits. manifest: as fetch wrote it.
    """

    val: TokenSplit
    stream: EvalStream
    index_sha256: str
    roundtrip: RoundtripReport
    train_index: dict[str, Any]
    dev_index: dict[str, Any]
    manifest: dict[str, Any]

    @classmethod
    def open(
        cls,
        val_dir: str,
        train_index_path: str,
        dev_index_path: str,
        tokenizer_path: str,
        manifest_path: str | Path,
        vocab_size: int,
    ) -> "ValidationData":
        """Read and check val and the files beside it. Raises ArtifactError for a damaged or malformed file."""
        split = split_reader.open_split(val_dir, vocab_size)
        tokenizer = Tokenizer.open(tokenizer_path)
        types = {"comparable_with_fineweb": bool, "transform": str, "splits": dict}
        manifest = json_records.read_sealed(manifest_path, **types)
        splits = json_records.require_keys(manifest_path, manifest["splits"], {"val": dict}, "splits")
        counts = {"documents": PositiveCount, "tokens": PositiveCount, "bytes": PositiveCount, "sha256": Sha256}
        json_records.require_keys(manifest_path, splits["val"], counts, "splits.val")
        return cls(
            split,
            EvalStream.from_split(split, tokenizer),
            lineage.hash_artifact(val_dir),
            check_roundtrip(split, tokenizer, manifest["transform"]),
            split_reader.read_index(Path(train_index_path).parent),
            split_reader.read_index(Path(dev_index_path).parent),
            manifest,
        )


@dataclass(frozen=True)
class ArtifactSize:
    """Bytes of what would be submitted, measured on the files themselves, and their limit.

    counted: whose code the code_bytes are, ``predictor`` or ``bundle``.
    """

    payload_bytes: int
    code_bytes: int
    limit_bytes: int
    counted: str

    @property
    def total_bytes(self) -> int:
        return self.payload_bytes + self.code_bytes


@dataclass(frozen=True)
class EvaluationContext:
    """One evaluation, as the checks see it.

    sandbox: closed, for the code archive that ran in it. log_entry: this evaluation's entry in the log, without val_bpb
    and verdict. limit_bytes, prequant_epochs: the parameters compress.limit_bytes and prequant.epochs. counted_bundle:
    whose bytes count as code; None where the code in the sandbox does. ledger_dir: where the ledgers are saved.
    log_path: the evaluation log.
    """

    cfg: EvaluateConfig
    artifact: ArtifactProvenance
    val_data: ValidationData
    run: EvaluationRun
    sandbox: Sandbox
    log_entry: dict[str, Any]
    limit_bytes: int
    prequant_epochs: int
    counted_bundle: str | None
    ledger_dir: str
    log_path: str

    @property
    def hardware(self) -> str:
        """What evaluation ran on."""
        return describe_hardware(self.run.session.ctx)

    @functools.cached_property
    def size(self) -> ArtifactSize:
        payload_bytes = Path(self.cfg.artifact).stat().st_size
        if self.counted_bundle is None:
            return ArtifactSize(payload_bytes, len(self.sandbox.code_archive), self.limit_bytes, "predictor")
        return ArtifactSize(payload_bytes, Path(self.counted_bundle).stat().st_size, self.limit_bytes, "bundle")

    @property
    def headline_result(self) -> ModeResult:
        return self.run.results[self.cfg.headline]

    @property
    def plan_origin(self) -> Origin | None:
        """The origin of plan.json; None when the headline does not follow it."""
        return self.artifact.plan_origin if self.cfg.headline == "ttt" else None

    @property
    def ttt_epochs(self) -> int:
        """Epochs that the headline makes over each scored chunk."""
        ttt_cfg = self.artifact.ttt_cfg
        if self.cfg.headline != "ttt" or ttt_cfg.method in ("none", "prequant"):
            return 0
        return ttt_cfg.epochs * (ttt_cfg.phased.phases if ttt_cfg.phased else 1)

    @property
    def prequant_val_epochs(self) -> int:
        """Epochs that prequant TTT made over val before it was scored; 0 when none reached the artifact."""
        is_on_val = (self.artifact.ttt_cfg.method, self.artifact.ttt_cfg.stream) == ("prequant", "val")
        return self.prequant_epochs if is_on_val and "val" in self.artifact.origin.splits else 0

    @property
    def adapts(self) -> bool:
        """Whether the predictor learned between chunks, or was allowed to."""
        ablations = self.run.ablations
        return self.cfg.headline == "ttt" or (ablations is not None and ablations.learned_diff > 0)

    @functools.cached_property
    def saved_ledger(self) -> tuple[LedgerData, dict[str, Any]]:
        """The headline's ledger and its header, read back from disk. Raises ArtifactError when it was changed."""
        return ledger.read(f"{self.ledger_dir}/{self.cfg.headline}.safetensors")

    @functools.cached_property
    def outside_accesses(self) -> dict[str, list[str]]:
        """What the predictor's processes accessed outside the sandbox, by kind, sorted and without duplicates."""
        reports = self.run.access_reports
        return {kind: sorted({entry for report in reports for entry in report[kind]}) for kind in _ACCESS_KINDS}

    @functools.cached_property
    def fence(self) -> FenceRecord:
        """The restrictions that held each of the predictor's processes, and those that some of them lacked."""
        return FenceRecord.combine([report["fence"] for report in self.run.access_reports])

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json without the verdict."""
        training_time, size = self.artifact.training_time, self.size
        stream, proof = self.val_data.stream, self.run.proof
        return mode_results.collect_metrics(self.run.results, self.cfg.headline, stream.is_clean) | {
            "val_contamination": measure_contamination(self.val_data.val.documents),
            "payload_bytes": size.payload_bytes,
            "code_bytes": size.code_bytes,
            "code_counted": size.counted,
            "artifact_bytes": size.total_bytes,
            "limit_bytes": size.limit_bytes,
            "train_seconds": training_time and training_time.seconds,
            "train_limit_seconds": training_time and training_time.limit_s,
            "eval_seconds": round(self.headline_result.finished_s, 3),
            "eval_limit_seconds": self.cfg.limit_s,
            "proof_seconds": proof and round(proof.predict_s, 3),
            "proof_replay_seconds": proof and round(proof.replay_s, 3),
            "probe_seconds": round(self.run.probe_s, 3),
            "invalid_modes": ", ".join(mode for mode in MODES if self.artifact.disclaimer(mode)),
            "comparable_with_fineweb": self.val_data.manifest["comparable_with_fineweb"],
        }
