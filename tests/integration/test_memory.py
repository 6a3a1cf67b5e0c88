"""benchmarks/memory.py on a finished run: a row for each mixture, beside the model alone"""

import sys

import pytest

from benchmarks import memory
from golf.artifacts import io
from golf.config import loader
from golf.errors import ConfigError
from tests.helpers import tiny_project


def test_each_mixture_is_a_row_with_its_difference_from_the_model_alone(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "_STEPS", 3)
    monkeypatch.setattr(memory, "_WINDOWS", (4, 8))
    monkeypatch.setattr(sys, "argv", ["memory.py", "--run", str(finished_run), "--json", str(tmp_path / "rows.json")])
    memory.main()

    rows = {row["name"]: row for row in io.read_json(tmp_path / "rows.json")["rows"]}
    cfg = loader.load_config(finished_run / "params.yaml").memory
    assert list(rows) == [
        "model alone",
        "neural cache alone",
        "params.yaml",
        "fitted",
        *(f"fitted, without order {order}" for order in cfg.orders),
        "fitted, window 4",
        "fitted, window 8",
        "fitted, without the cache",
        "n-grams alone",
    ]
    assert rows["model alone"]["difference"] == 0
    assert "memory" not in rows["model alone"]
    for row in rows.values():
        assert row["bpb"] == pytest.approx(rows["model alone"]["bpb"] + row["difference"])
    assert tuple(rows["params.yaml"]["memory"]["orders"]) == cfg.orders
    assert rows["fitted"]["bpb"] <= rows["params.yaml"]["bpb"]
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_a_run_without_memory_has_nothing_to_fit(project_dir, tmp_path, monkeypatch):
    tiny_project.set_params(project_dir, {"memory.orders": [], "memory.escape_weights": []})
    monkeypatch.setattr(sys, "argv", ["memory.py", "--json", str(tmp_path / "rows.json")])
    with pytest.raises(ConfigError, match=r"memory\.orders: is empty"):
        memory.main()
    assert not (tmp_path / "rows.json").exists()
