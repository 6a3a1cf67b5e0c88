"""golf/cli/results.py: the tables of golf results and golf verdict"""

import shutil
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli import results
from golf.compliance import verdict
from golf.errors import ArtifactError
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.verdicts import write_evaluation

ARTIFACT = Path("artifacts/compress/model.golf")

WHOLE = {
    "headline": "ttt",
    "val_bpb": 1.6789,
    **{f"val_bpb_{mode}": bpb for mode, bpb in (("plain", 1.7), ("sliding", 1.68), ("ttt", 1.6789))},
    **{f"val_bpb_{mode}_se": 0.0123 for mode in ("plain", "sliding", "ttt")},
    **{f"seconds_{mode}": 98765.4 for mode in ("plain", "sliding", "ttt")},
    "val_bpb_clean": 1.7012,
    "val_contamination": 0.0123,
    "payload_bytes": 15_970_000,
    "code_bytes": 28_000,
    "artifact_bytes": 15_998_000,
    "limit_bytes": 16_000_000,
    "train_seconds": 588.1,
    "train_limit_seconds": 600.0,
    "eval_seconds": 412.0,
    "eval_limit_seconds": 600.0,
    "verdict": "NOT-RUN",
    "comparable_with_fineweb": False,
}


@pytest.fixture
def table(tmp_path):
    def write_and_render(tree) -> str:
        io.write_json(tmp_path / "metrics.json", tree)
        return results.render_table(tmp_path / "metrics.json")

    return write_and_render


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


LONG = "invalid: val is upstream of the artifact (C1, C3; the order of PRs #1485 and #1735), and so was the plan"


@pytest.mark.parametrize(
    "tree",
    [
        WHOLE,
        {},
        WHOLE | {"verdict": LONG},
        WHOLE | {key: 9 * 10**8 for key in WHOLE if key.endswith(("_bytes", "_seconds"))},
    ],
    ids=["whole", "empty", "long", "wide"],
)
def test_the_table_fits_a_screen_of_80_by_24(table, tree):
    text = table(tree)
    assert len(text.splitlines()) <= 22, "two are left for the prompt"
    assert max(map(len, text.splitlines())) <= 80


def test_a_whole_result_shows_every_figure_beside_its_limit(table):
    text = table(WHOLE)
    assert line(text, "ttt").split() == ["ttt", "1.6789", "0.0123", "98765.4", "<-", "headline"]
    assert text.count("<- headline") == 1
    assert line(text, "clean text").split("  ")[-2:] == ["1.7012", "val's bytes that also occur in train: 1.23%"]
    assert "15,998,000  of 16,000,000" in line(text, "artifact bytes")
    assert "model 15,970,000, code 28,000" in text
    assert "588.1  of 600.0" in line(text, "train seconds")
    assert "412.0  of 600.0" in line(text, "eval seconds")
    assert "OVER" not in text


def test_an_invalid_score_says_so_beside_its_figure(table):
    text = table(WHOLE | {"verdict": LONG})
    assert all("invalid" in line(text, mode) for mode in ("plain", "sliding", "ttt"))
    text = table(WHOLE | {"invalid_modes": "ttt", "headline": "sliding"})
    assert [mode for mode in ("plain", "sliding", "ttt") if "invalid" in line(text, mode)] == ["ttt"]
    assert "invalid" not in table(WHOLE | {"invalid_modes": ""})


def test_what_was_not_measured_says_so_and_is_never_guessed(table):
    text = table({})
    for start in ("plain", "sliding", "ttt"):
        assert line(text, start).split()[1:] == ["NOT-RUN"] * 3
    assert line(text, "clean text").split()[2::8] == ["NOT-RUN", "NOT-RUN"]
    for start in ("artifact bytes", "train seconds", "eval seconds"):
        assert line(text, start).split()[2:] == ["NOT-RUN", "of", "NOT-RUN"]
    assert line(text, "verdict").split() == ["verdict", "NOT-RUN"]
    one = table({key: value for key, value in WHOLE.items() if key != "val_bpb_sliding_se"})
    assert line(one, "sliding").split() == ["sliding", "1.6800", "NOT-RUN", "98765.4"]


@pytest.mark.parametrize(
    ("key", "start"),
    [("artifact_bytes", "artifact bytes"), ("train_seconds", "train seconds"), ("eval_seconds", "eval seconds")],
)
def test_what_is_over_its_limit_says_over(table, key, start):
    text = table(WHOLE | {key: 16_000_001})
    assert line(text, start).endswith("  OVER")
    assert text.count("OVER") == 1


def test_what_is_exactly_at_its_limit_is_not_over(table):
    assert "OVER" not in table(WHOLE | {"artifact_bytes": 16_000_000, "train_seconds": 600.0})


def test_training_without_a_limit_says_that_there_is_none(table):
    assert line(table(WHOLE | {"train_limit_seconds": None}), "train seconds").endswith("588.1  no limit")


def test_scores_of_the_embedded_corpus_are_not_offered_for_comparison_with_fineweb(table):
    sentence = "not comparable with scores on FineWeb"
    assert sentence in table(WHOLE)
    assert sentence in table({}), "nor where nothing is known"
    assert sentence not in table(WHOLE | {"comparable_with_fineweb": True})


def test_a_long_verdict_is_shown_in_full(table):
    assert LONG in " ".join(table(WHOLE | {"verdict": LONG}).split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val_bpb": "low"}, "val_bpb: must be a number, got 'low'"),
        ({"headline": 3}, "headline: must be text, got 3"),
        ({"verdict": None}, r"verdict: must be text, got nothing \(null\)"),
        ({"train_seconds": -9000.0}, "train_seconds: must be at least 0 and at most"),
        ({"eval_seconds": True}, "eval_seconds: must be a number, got True"),
        ({"artifact_bytes": 1.5}, "artifact_bytes: must be a whole number, got 1.5"),
    ],
)
def test_an_impossible_figure_is_refused_by_its_key(table, change, words):
    with pytest.raises(ArtifactError, match=rf"metrics\.json: {words}"):
        table(WHOLE | change)


def test_without_a_run_the_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"metrics\.json: not found"):
        results.render_table(tmp_path / "metrics.json")


# ---- golf verdict


@pytest.fixture
def project_with_verdict(tmp_path, monkeypatch):
    """A folder with an artifact and its evaluation."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "profiles/laptop.yaml", "params.yaml")
    write_evaluation(tmp_path)


def test_a_verdict_for_another_artifact_than_the_current_one_says_so_and_counts_as_failed(project_with_verdict):
    assert results.render_verdict() == verdict.load_report()
    assert not results.render_verdict()[1]
    io.write_bytes(ARTIFACT, b"another model")
    assert results.format_stale_warning().startswith(f"STALE: {ARTIFACT} is now ")
    text, has_failed = results.render_verdict()
    assert has_failed
    assert text.endswith(f"\n{results.format_stale_warning()}")


@pytest.mark.parametrize("path", [ARTIFACT, "params.yaml", verdict.VERDICT_PATH])
def test_without_artifact_parameters_or_verdict_there_is_no_warning(project_with_verdict, path):
    io.write_bytes(ARTIFACT, b"another model")
    Path(path).unlink()
    assert results.format_stale_warning() == ""
