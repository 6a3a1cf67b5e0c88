"""golf/cli/plots.py: golf plot draws the tables as PNG files"""

import re
import struct
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli import plots
from golf.cli.main import main
from golf.errors import ArtifactError, InputError, UnavailableError

matplotlib = pytest.importorskip("matplotlib")
RATE_DISTORTION, TENSORS, COLUMNS, SIZES = (plot.table_path for plot in plots.PLOTS)
NAMES = [plot.file_name for plot in plots.PLOTS]


def make_curves(n_runs: int = 2) -> list[dict]:
    return [
        {"run": f"run{run}", "recipe": recipe, "bytes": size, "order_0_bytes": size - 99, "bpb_increase": increase}
        for run in range(n_runs)
        for recipe in ("record", "columns, rows")
        for size, increase in ((400_000, 0.02), (700_000, 0.004), (900_000, -0.0001))
    ]


@pytest.fixture
def project_dir(tmp_path, monkeypatch) -> Path:
    """A folder with all four tables, on a machine without a display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    names = [("blocks.0.mlp.fc.weight", "matrix"), ("tok_emb.weight", "embed")]
    tensors = [{"tensor": name, "kind": kind, "bits_per_weight": 2.5, "step": None} for name, kind in names]
    groups = [
        {"tensor": name, "kind": kind, "group": group, "columns": 2, "bits_per_weight": 2 + group / 8}
        for name, kind in names
        for group in range(1, 17)
    ]
    sizes = [{"part": part, "bytes": size} for part, size in (("int8", 900), ("code", 60), ("headroom", 40))]
    for path, rows in ((RATE_DISTORTION, make_curves()), (TENSORS, tensors), (COLUMNS, groups), (SIZES, sizes)):
        io.write_csv(path, rows)
    return tmp_path


def read_png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of a file that must be a PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_every_table_becomes_a_png_and_every_file_is_named(project_dir, capsys):
    assert main(["plot"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"artifacts/plots/{name}" for name in NAMES]
    assert sorted(path.name for path in (project_dir / "artifacts/plots").iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert all(150 <= side <= 2000 for side in read_png_size(project_dir / "artifacts/plots" / name))


def test_the_same_tables_give_the_same_bytes_with_any_matplotlibrc(project_dir):
    plots.draw_plots(Path("one"))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        plots.draw_plots(Path("two"))
    for name in NAMES:
        assert (project_dir / "one" / name).read_bytes() == (project_dir / "two" / name).read_bytes()


@pytest.mark.parametrize("plot", plots.PLOTS, ids=NAMES)
def test_a_missing_table_is_named_with_its_command_and_the_others_are_drawn(project_dir, plot):
    Path(plot.table_path).unlink()
    lines = plots.draw_plots(Path("out")).splitlines()
    missing = f"{plot.file_name}: not drawn, {plot.table_path} is missing; write it with: {plot.command}"
    assert lines == [missing if name == plot.file_name else f"out/{name}" for name in NAMES]
    assert not (project_dir / "out" / plot.file_name).exists()


def test_without_any_table_one_message_names_all_of_them_with_their_commands(project_dir, capsys):
    for plot in plots.PLOTS:
        Path(plot.table_path).unlink()
    assert main(["plot", "--out", "out"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("golf plot: nothing to draw, as no table is here; write ")
    assert f"{TENSORS} and {COLUMNS} with: dvc repro quantize; {SIZES} with: dvc repro compress" in captured.err
    assert f"{RATE_DISTORTION} with: python benchmarks/rate_distortion.py" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("plot", plots.PLOTS, ids=NAMES)
def test_a_damaged_table_is_named_and_no_plot_is_left_half_drawn(project_dir, plot):
    Path(plot.table_path).write_text("nonsense\n1\n")
    with pytest.raises(ArtifactError, match=re.escape(plot.table_path)):
        plots.draw_plots(Path("out"))
    assert not (project_dir / "out" / plot.file_name).exists()


def test_a_run_without_any_loss_is_drawn_too(project_dir):
    io.write_csv(RATE_DISTORTION, [row | {"bpb_increase": 0.0} for row in make_curves(n_runs=1)])
    plots.draw_plots(Path("out"))
    read_png_size(project_dir / "out/rate_distortion.png")


def test_a_missing_matplotlib_is_one_message_with_the_hint(project_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        UnavailableError, match=r"needs matplotlib, which is not installed; install it with: pip install -e '\.\[dev\]'"
    ):
        plots.draw_plots(Path("out"))
    assert main(["plot"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_named(project_dir):
    Path("file").touch()
    for path in ("file", "file/below"):
        with pytest.raises(InputError, match=rf"--out {path}: the folder can't be made"):
            plots.draw_plots(Path(path))
