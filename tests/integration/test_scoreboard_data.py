"""benchmarks/scoreboard_data.py: the texts and clean bytes of a finished run's splits"""

import sys

from golf.artifacts import io
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from scoreboard_data import ScoreboardData


def test_the_splits_of_a_run_are_read_as_text(finished_run):
    data = ScoreboardData(finished_run / "artifacts/fetch")
    texts = {path.read_text(encoding="utf-8").replace("\n\n", " ") for path in (finished_run / "texts").iterdir()}
    documents = [document.decode() for split in (data.train, data.dev, data.val) for document in split.documents]
    assert set(documents) == texts
    assert data.val.n_bytes == data.val.stream.target_bytes.sum()
    assert data.digests().keys() == {"train", "dev", "val", "tokenizer"}


def test_the_clean_bytes_are_those_of_targets_without_covered_bytes(project_dir):
    path = project_dir / "artifacts/fetch/val/index.json"
    index = io.read_json(path)
    for number, row in enumerate(index["documents"]):
        row["covered"] = [[0, 70]] if number == 0 else []
    io.write_json(path, index)
    val = ScoreboardData(path.parents[1]).val
    assert not val.is_clean[:70].any()
    assert 70 <= val.n_bytes - val.n_clean_bytes < 80, "and the rest of the last covered token"
