import math

import pytest
import submissions

from golf.submission import margin
from golf.submission.evidence import gather


@pytest.fixture
def before(tmp_path):
    return submissions.sound(tmp_path / "before", {42: 1.0901, 314: 1.0903, 999: 1.0905})


def found(folder, baseline):
    evidence = gather(folder)
    return margin.finding(evidence, margin.margin(evidence, baseline))


@pytest.mark.parametrize(
    ("lower", "status", "note"),
    [
        (0.0100, "PASS", ""),
        (0.0050, "UNRULED", "only per token"),
        (0.0003, "UNRULED", "#1902"),
        (-0.0010, "FAIL", "not even"),
    ],
)
def test_the_margin_is_judged_by_the_written_rule_and_says_by_which_easier_one_it_would_pass(
    tmp_path, before, lower, status, note
):
    scores = {seed: bpb - lower for seed, bpb in ((42, 1.0901), (314, 1.0903), (999, 1.0905))}
    judged = found(submissions.sound(tmp_path / "now", scores), before)
    assert judged.status == status
    assert note in judged.note


def test_nats_a_byte_and_a_token_stand_in_the_ratio_of_bytes_to_tokens(tmp_path, before):
    measured = margin.margin(gather(submissions.sound(tmp_path / "now")), before)
    assert measured.byte.gain == pytest.approx(0.01 * math.log(2))
    assert measured.token.gain / measured.byte.gain == pytest.approx(submissions.BYTES / submissions.TOKENS, rel=1e-4)


def test_nats_a_token_are_not_compared_across_tokenizers(tmp_path, before):
    folder = submissions.sound(tmp_path / "now", {})
    for seed in (1, 2, 3):
        (folder / f"train_seed{seed}.log").write_text(submissions.early(seed, 1.08 + seed / 1000))
    measured = margin.margin(gather(folder), before)
    assert measured.token is None
    assert measured.byte is not None
    assert any(line.startswith("nats a token      NOT-RUN") for line in margin.lines(measured))


def test_without_a_baseline_a_second_seed_or_a_record_to_beat_it_was_not_run(tmp_path, before):
    assert found(submissions.sound(tmp_path / "a"), None).status == "NOT-RUN"
    assert "two scores on each side" in found(submissions.sound(tmp_path / "b", {42: 1.08}), before).note
    assert found(submissions.sound(tmp_path / "c", claims={"track": "non_record"}), before).status == "NOT-RUN"
    for log in submissions.sound(tmp_path / "e").glob("*.log"):
        log.unlink()
    assert "no log bears out" in found(tmp_path / "e", before).note
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "README.md").write_text("hello")
    assert found(tmp_path / "d", before).status == "NOT-RUN"
