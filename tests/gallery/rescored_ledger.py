"""A ledger whose rows were scored again after adaptation and overwritten (#991)."""

from pathlib import Path

from gallery.case import Violation

from golf.artifacts import io
from golf.evaluation import ledger

CASE = Violation(
    2, "rows rescored in the ledger", "#991", ("C3-a",), error_pattern="chunk 0 does not match its chain hash"
)


def prepare_project(project_dir) -> None:
    ledger_path = Path(project_dir) / "artifacts/evaluate/ledgers/ttt.safetensors"
    tensors, metadata = io.load_tensors(ledger_path, kind=ledger.KIND)
    tensors["nll"] = tensors["nll"] * 0.9
    io.save_tensors(ledger_path, tensors, kind=ledger.KIND, meta=metadata)
    ledger.read(ledger_path)
