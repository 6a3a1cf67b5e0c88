"""From a trial and the files around it to the figures and the verdict: every check in one list."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.artifacts import io, lineage
from golf.compliance import evaluation_log, metric_checks, provenance_checks, unruled_checks, verdict
from golf.compliance.context import ArtifactContext, read_typed, require_keys
from golf.compliance.evaluation_run import EvaluationRun
from golf.compliance.provenance_checks import ArtifactSize
from golf.compliance.verdict import Verdict
from golf.config import sections
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.roundtrip import RoundtripReport, check_roundtrip
from golf.data.split_reader import TokenSplit
from golf.data.tokenizer import Tokenizer
from golf.evaluation import evaluator
from golf.evaluation.sandbox.host import Sandbox


@dataclass(frozen=True)
class ValidationData:
    """The text that is scored on. index: sha256 of val's index; read: val as text again; train, dev: their
    indexes; manifest: fetch's.
    """

    val: TokenSplit
    stream: EvalStream
    index_sha256: str
    roundtrip: RoundtripReport
    train_index: dict
    dev_index: dict
    manifest: dict

    @classmethod
    def open(
        cls, val_dir, train_index_path, dev_index_path, tokenizer_path, manifest_path, vocab_size: int
    ) -> "ValidationData":
        """val: the split's folder; train, dev: their index.json. Raises BadArtifact for what is damaged."""
        split, val_tokenizer = split_reader.open_split(val_dir, vocab_size), Tokenizer.open(tokenizer_path)
        manifest_record = read_typed(manifest_path, comparable_with_fineweb=bool, transform=str, splits=dict)
        val_record = require_keys(manifest_path, manifest_record["splits"], val=dict)["val"]
        require_keys(manifest_path, val_record, documents=int, tokens=int, bytes=int, sha256=str)
        roundtrip = check_roundtrip(split, val_tokenizer, manifest_record["transform"])
        other_indexes = [
            split_reader.read_index(Path(index_path).parent) for index_path in (train_index_path, dev_index_path)
        ]
        return cls(
            split,
            EvalStream.from_split(split, val_tokenizer),
            lineage.artifact_sha256(val_dir),
            roundtrip,
            *other_indexes,
            manifest_record,
        )


@dataclass(frozen=True)
class VerdictBuilder:
    """evaluate: the section of params; limit_bytes: for artifact and code together; epochs: of prequant, where the
    plan tells of one.
    """

    cfg: sections.EvaluateConfig
    artifact_ctx: ArtifactContext
    val_data: ValidationData
    run: EvaluationRun
    sandbox: Sandbox
    limit_bytes: int
    prequant_epochs: int

    @property
    def _size(self) -> ArtifactSize:
        payload_bytes = Path(self.cfg.artifact).stat().st_size
        return ArtifactSize(payload_bytes, len(self.sandbox.bundle), self.limit_bytes)

    @property
    def prequant_val_epochs(self) -> int:
        """Epochs that prequant made over val before it was scored; 0 where none reached the artifact."""
        ttt_cfg, val_reached = self.artifact_ctx.ttt_cfg, "val" in self.artifact_ctx.origin.splits
        return self.prequant_epochs if val_reached and (ttt_cfg.method, ttt_cfg.stream) == ("prequant", "val") else 0

    def metrics(self, eval_seconds: float) -> dict:
        """metrics.json but for the verdict. seconds: of evaluation, as its limit counts them."""
        training_time, size = self.artifact_ctx.training_time, self._size
        return evaluator.collect_metrics(self.run.results, self.cfg.headline) | {
            "payload_bytes": size.payload_bytes,
            "code_bytes": size.code_bytes,
            "artifact_bytes": size.total_bytes,
            "limit_bytes": size.limit_bytes,
            "train_seconds": training_time and training_time.seconds,
            "train_limit_seconds": training_time and training_time.limit_s,
            "eval_seconds": round(eval_seconds, 3),
            "eval_limit_seconds": self.cfg.limit_s,
            "probe_seconds": round(self.run.probe_seconds, 3),
            "invalid_ways": ", ".join(mode for mode in evaluator.MODES if self.artifact_ctx.disclaimer(mode)),
            "comparable_with_fineweb": self.val_data.manifest["comparable_with_fineweb"],
        }

    def build(self, metrics: dict, ledger_dir, log_path, *, hardware: str, commit: dict | None) -> Verdict:
        """figures: as reported; ledgers: the folder where they are saved; log: of executions, to which this one is
        added whatever the verdict.
        """
        session, artifact_ctx, val_data = self.run.session, self.artifact_ctx, self.val_data
        is_ttt = self.cfg.headline == "ttt"
        headline_result, ledger_path = (
            self.run.results[self.cfg.headline],
            f"{ledger_dir}/{self.cfg.headline}.safetensors",
        )
        check_results = [
            *self.run.check_results,
            *provenance_checks.check_upstream(artifact_ctx.origin, artifact_ctx.plan_origin if is_ttt else None),
            provenance_checks.check_disjoint(val_data.train_index, val_data.dev_index, val_data.val.documents),
            *provenance_checks.check_sandbox(self.run.access_reports, list(self.sandbox.sources)),
            *metric_checks.check_ledger(ledger_path, val_data.stream, headline_result, metrics, session.n_score_calls),
            *metric_checks.check_bytes(
                metrics, val_data.val, val_data.index_sha256, val_data.manifest, val_data.roundtrip
            ),
            self._size.check_limit(),
            *provenance_checks.check_time_and_hardware(
                artifact_ctx.training_time, metrics["eval_seconds"], self.cfg.limit_s, hardware
            ),
            *unruled_checks.check_unruled(
                artifact_ctx.ttt_cfg.epochs if is_ttt else 0, session.info["disputed"], self.prequant_val_epochs
            ),
        ]
        adapts = len(np.unique(headline_result.ledger.to_data().state_hashes, axis=0)) > 1 or is_ttt
        header = {"adapts": adapts, "limits": metrics, "comparable": metrics["comparable_with_fineweb"]}
        entry = make_log_entry(self.cfg, artifact_ctx, val_data, commit) | {"val_bpb": metrics["val_bpb"]}
        header |= {
            "probe_seed": self.run.probe_seed,
            "predictor": entry["method"],
            "artifact_sha256": entry["artifact"],
        }
        result = verdict.make_verdict([*check_results, evaluation_log.check_logged(log_path, entry)], **header)
        evaluation_log.append_entry(log_path, entry | {"verdict": result.summary})
        return result


def make_log_entry(
    cfg: sections.EvaluateConfig, artifact_ctx: ArtifactContext, val_data: ValidationData, commit: dict | None
) -> dict:
    """What the log says of an evaluation before it has scored anything. commit: as ``golf.pipeline.runner`` gives it."""
    return {
        "artifact": lineage.artifact_sha256(cfg.artifact),
        "method": cfg.predictor,
        "plan": io.sha256_json(dataclasses.asdict(artifact_ctx.ttt_cfg)) if cfg.headline == "ttt" else None,
        "val": val_data.index_sha256,
        "headline": cfg.headline,
        "val_bpb": None,
        "verdict": None,
        "commit": commit and f"{commit['commit']}{' (dirty)' * commit['dirty']}",
    }
