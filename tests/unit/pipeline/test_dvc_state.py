"""golf/pipeline/dvc_state.py: a file of DVC that was cut is named with a hint, and nothing else is refused"""

import json

import pytest

from golf.cli import main as cli
from golf.errors import ArtifactError
from golf.pipeline import dvc_state
from tests.helpers.tiny_corpus import ROOT

HOLDER = {"pid": 7, "cmd": "dvc repro"}
RWLOCK = json.dumps({"write": {f"artifacts/{i}": HOLDER for i in range(99)}, "read": {"dvc.yaml": [HOLDER]}}).encode()
LOCK = (
    b"schema: '2.0'\nstages:\n  fetch:\n    cmd: python -m stages.fetch\n    outs:\n    - path: 'a b'\n      size: 3\n"
)
FILES = {".dvc/tmp/rwlock": RWLOCK, "dvc.lock": LOCK}
HINTS = {".dvc/tmp/rwlock": "rm .dvc/tmp/rwlock; .* so nothing is lost", "dvc.lock": "git checkout dvc.lock; dvc repro"}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_state, "_RETRY_AFTER_S", 0.001)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_a_project_whose_files_are_intact_or_not_there_yet_passes(project):
    dvc_state.require_intact_dvc_state()
    (project / ".dvc/tmp/rwlock").write_text("{}")
    dvc_state.require_intact_dvc_state()
    for name in FILES:
        (project / name).unlink()
    dvc_state.require_intact_dvc_state()
    dvc_state.require_intact_dvc_state(ROOT)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((".dvc/tmp/rwlock", data) for data in (b"", RWLOCK[:4096], RWLOCK[:-1], b"\0" * 64, b"[]", b'{"write": []}')),
        *((".dvc/tmp/rwlock", data) for data in (b'{"write": {"a": {"pid": 1}}}', b'{"read": {"a": {}}}', b"[" * 9999)),
        *(("dvc.lock", data) for data in (b"", LOCK[:14], LOCK[:-16], b"\0" * 64, b"stages: 3\n", b"\xff")),
    ],
)
def test_a_cut_file_is_refused_with_its_cure(project, capsys, name, data):
    assert data != FILES[name]
    (project / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"^{name}: .*; .*{HINTS[name]}"):
        dvc_state.require_intact_dvc_state()
    (project / "params.yaml").write_bytes((ROOT / "profiles/laptop.yaml").read_bytes())
    assert cli.main(["validate"]) == 1
    assert capsys.readouterr().err.startswith(f"golf validate: {name}: ")


def test_a_file_that_is_being_written_right_now_is_read_again(project, monkeypatch):
    path = project / ".dvc/tmp/rwlock"
    path.write_bytes(RWLOCK[:4096])
    monkeypatch.setattr(dvc_state.time, "sleep", lambda seconds: path.write_bytes(RWLOCK) if seconds else None)
    dvc_state.require_intact_dvc_state()
