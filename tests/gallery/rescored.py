"""A ledger whose rows were scored again after adapting, and written over the first ones (#991)."""

from pathlib import Path

from gallery.case import Cheat
from golf.ground import store
from golf.score import ledger

CASE = Cheat(2, "rows rescored in the ledger", "#991", ("C3-a",), refused="the seal of chunk 0 does not fit its rows")


def arrange(place) -> None:
    file = Path(place) / "artifacts/evaluate/ledgers/ttt.safetensors"
    tensors, meta = store.load_tensors(file, kind=ledger.KIND)
    tensors["nll"] = tensors["nll"] * 0.9
    store.save_tensors(file, tensors, kind=ledger.KIND, meta=meta)
    ledger.read(file)
