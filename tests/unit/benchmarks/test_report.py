"""benchmarks/report.py: the performance table shows the measurements in a folder, and NOT-RUN for missing ones"""

import pytest

from benchmarks import report
from golf.artifacts import io
from golf.errors import ArtifactError

MACHINE = {"machine": "NVIDIA H200", "slug": "nvidia-h200", "threads": 16}
OURS = {"tokens_per_second": 1_300_000.0, "mfu": 0.412, "peak_bytes": 19_640_000_000}
STEP = MACHINE | {
    "profile": "record",
    "rows": [{"recurrent": True, "baseline": {"tokens_per_second": 1_000_000.0, "mfu": 0.3}, "ours": OURS}],
}
MODES = MACHINE | {"profile": "profiles/record.yaml", "modes": {"ttt": {"baseline_s": 6.0, "ours_s": 2.5}}}
RUN = MACHINE | {
    "steps": 1234,
    "train_seconds": 300.2,
    "text": "prose",
    "note": "Undertrained: 9 tokens.",
    "metrics": {"val_bpb_plain": 1.25, "val_bpb_ttt": 1.2, "artifact_bytes": 15_999_000, "limit_bytes": 16_000_000},
}


@pytest.fixture
def results(tmp_path):
    io.write_json(tmp_path / "train_step.record.nvidia-h200.json", STEP)
    io.write_json(tmp_path / "evaluation.record.nvidia-h200.json", MODES)
    io.write_json(tmp_path / "record_run.record.nvidia-h200.json", RUN)
    return tmp_path


def test_each_row_names_its_machine_and_missing_measurements_are_not_run(results):
    rows = report.render_table(results).splitlines()
    assert rows[2] == "| training step, laptop | NOT-RUN | NOT-RUN | NOT-RUN | NOT-RUN | NOT-RUN | NOT-RUN |"
    assert rows[4] == (
        "| training step, record, with recurrence | NVIDIA H200 | 1,000,000 tokens/s | 1,300,000 tokens/s "
        "| 1.30 | 41.2 % | 19.6 GB |"
    )
    assert rows[5] == "| score-first TTT, record | NVIDIA H200 | 6 s | 2.5 s | 2.40 |  |  |"
    assert "300 s on one NVIDIA H200 (1,234 steps, prose): plain 1.2500, ttt 1.2000 bpb" in rows[-1]
    assert rows[-1].endswith("16,000,000. Undertrained: 9 tokens. Not comparable with scores on FineWeb.")


def test_an_empty_folder_gives_a_table_of_not_run(tmp_path):
    cells = [line.strip("| ").split(" | ")[1:] for line in report.render_table(tmp_path).splitlines()[2:6]]
    assert {cell for row in cells for cell in row} == {"NOT-RUN"}


@pytest.mark.parametrize("key", ["rows", "machine", "profile"])
def test_a_malformed_result_file_is_named_with_its_key(results, key):
    path = results / "train_step.record.nvidia-h200.json"
    io.write_json(path, {name: value for name, value in STEP.items() if name != key})
    with pytest.raises(ArtifactError, match=rf"train_step\.record\.nvidia-h200\.json: {key}: expected"):
        report.render_table(results)
