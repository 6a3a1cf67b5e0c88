"""Ways to adapt that the default run has off: the proof holds, no check fails, and a text comes back"""

from pathlib import Path

import numpy as np
import pytest

from golf.artifacts import io
from golf.cli import main
from golf.compliance.check_result import FAIL, UNRULED
from golf.compression import code_archive
from golf.evaluation import ledger
from tests.helpers import tiny_project

LEDGERS = Path("artifacts/evaluate/ledgers")
TILT = {"memory.tilt_order": 3, "memory.tilt_threshold": 0.5}
LORA = {"ttt.lr": 0.003, "ttt.chunk_tokens": 64, "ttt.batch_tokens": 64, "phased.chunk_tokens": 256, "lora.rank": 4}
CASES = {
    "tilt on the mixture": (TILT, {"token_tilt"}),
    "tilt alone, one strength, no learner": (
        TILT | {"memory.orders": [], "memory.hedge": [], "ttt.method": "none"},
        {"token_tilt"},
    ),
    "within documents": (TILT | {"memory.scope": "document"}, {"token_tilt", "document_memory"}),
    "adapters in the stream": (LORA | {"ttt.method": "lora"}, {"lora"}),
    "all within documents": (
        LORA | TILT | {"ttt.method": "lora", "evaluate.order": "documents", "memory.scope": "document"},
        {"lora", "document_scorer", "document_memory", "token_tilt"},
    ),
    "phases and adapters": (
        LORA | {"ttt.method": "phased", "ttt.lr": 0.01, "phased.prefix_documents": 4} | {"phased.lora_lr": 0.003},
        {"lora", "phased_sgd", "score_first_sgd"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_way_to_adapt_is_packed_proven_valid_and_decodable(project_dir, capsys, case):
    settings, modules = CASES[case]
    before = ledger.read(LEDGERS / "ttt.safetensors")[0].nll
    tiny_project.set_params(project_dir, settings)
    for stage in ("ttt", "compress", "evaluate"):
        tiny_project.run_stage_in_process(stage)

    files = set(code_archive.unpack(Path("artifacts/compress/code.tar.xz").read_bytes(), "code"))
    assert {f"golf/inference/{module}.py" for module in modules} <= files
    verdict = io.read_json("artifacts/evaluate/verdict.json")
    assert [row for row in verdict["checks"] if row["status"] in (FAIL, UNRULED)] == []
    assert next(row for row in verdict["checks"] if row["check"] == "C1-a")["status"] == "PASS"
    assert np.abs(ledger.read(LEDGERS / "ttt.safetensors")[0].nll - before).max() > 0.01

    assert main.main(["prove", "--places", "40"]) == 0
    assert "\nPROVEN\n" in capsys.readouterr().out
    if settings.get("evaluate.order") == "documents":
        assert main.main(["encode", "params.yaml"]) == 1
        assert "evaluate.order: encode and decode follow the stream, got documents" in capsys.readouterr().err
        return
    text = b"The baker, the baker, the baker carried seven lamps.\n" * 3
    Path("note.txt").write_bytes(text)
    assert main.main(["encode", "note.txt"]) == 0
    Path("note.txt").unlink()
    assert main.main(["decode", "note.txt.golfz"]) == 0
    assert Path("note.txt").read_bytes() == text
