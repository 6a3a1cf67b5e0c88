"""golf/cli/plots.py: golf plot"""

import re
import struct
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli import main, plots
from golf.errors import ArtifactError, InputError, UnavailableError

matplotlib = pytest.importorskip("matplotlib")
CURVES, TENSORS, COLUMNS, SIZES = (picture.table_path for picture in plots.PLOTS)
NAMES = [picture.file_name for picture in plots.PLOTS]


def curves(runs: int = 2) -> list[dict]:
    return [
        {"run": f"run{run}", "recipe": recipe, "bytes": size, "ideal": size - 99, "lost": lost}
        for run in range(runs)
        for recipe in ("record", "columns, rows")
        for size, lost in ((400_000, 0.02), (700_000, 0.004), (900_000, -0.0001))
    ]


@pytest.fixture
def project_dir(tmp_path, monkeypatch) -> Path:
    """A folder with all four tables, on a machine without a display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    names = [("blocks.0.mlp.fc.weight", "matrix"), ("tok_emb.weight", "embed")]
    tensors = [{"name": name, "class": kind, "bits": 2.5, "step": None} for name, kind in names]
    groups = [
        {"tensor": name, "class": kind, "group": group, "columns": 2, "bits": 2 + group / 8}
        for name, kind in names
        for group in range(1, 17)
    ]
    sizes = [{"part": part, "bytes": size} for part, size in (("int8", 900), ("code", 60), ("headroom", 40))]
    for path, rows in ((CURVES, curves()), (TENSORS, tensors), (COLUMNS, groups), (SIZES, sizes)):
        io.write_csv(path, rows)
    return tmp_path


def figure_of(name: str):
    """A picture's figure as it is drawn, to be looked into."""
    from matplotlib.figure import Figure

    picture = plots.PLOTS[NAMES.index(name)]
    figure = Figure()
    picture.draw(figure, plots.read_csv(picture.table_path, picture.columns))
    return figure


def size(path: Path) -> tuple[int, int]:
    """Width and height in dots, of what must be a PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_every_table_becomes_a_png_and_every_file_is_named(project_dir, capsys):
    assert main.main(["plot"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"artifacts/plots/{name}" for name in NAMES]
    sizes = {name: size(project_dir / "artifacts/plots" / name) for name in NAMES}
    assert sizes["rate_distortion.png"] == (1100, 450)  # two panels
    assert all(150 <= side <= 2000 for sides in sizes.values() for side in sides)
    assert sorted(path.name for path in (project_dir / "artifacts/plots").iterdir()) == sorted(NAMES)


def test_the_same_tables_give_the_same_bytes_whatever_the_machine_prefers(project_dir):
    plots.draw_plots(Path("one"))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        plots.draw_plots(Path("two"))
    for name in NAMES:
        data = (project_dir / "one" / name).read_bytes()
        assert data == (project_dir / "two" / name).read_bytes()
        assert b"Software" not in data
        assert matplotlib.__version__.encode() not in data


@pytest.mark.parametrize("picture", plots.PLOTS, ids=NAMES)
def test_a_table_that_is_missing_is_said_with_what_writes_it_and_the_rest_is_drawn(project_dir, picture):
    Path(picture.table).unlink()
    lines = plots.draw_plots(Path("out")).splitlines()
    wanted = f"{picture.file}: not drawn, no {picture.table}; written by: {picture.writer}"
    assert lines == [wanted if name == picture.file else f"out/{name}" for name in NAMES]
    assert not (project_dir / "out" / picture.file).exists()
    maker = "benchmarks/rate_distortion.py" if picture.table == CURVES else f"repro {Path(picture.table).parent.name}"
    assert maker in wanted


@pytest.mark.parametrize("picture", plots.PLOTS, ids=NAMES)
def test_a_damaged_table_is_named_and_no_picture_is_left_half_drawn(project_dir, picture):
    Path(picture.table).write_text("nonsense\n1\n")
    with pytest.raises(ArtifactError, match=re.escape(picture.table)):
        plots.draw_plots(Path("out"))
    assert not (project_dir / "out" / picture.file).exists()


def test_a_missing_matplotlib_ends_in_one_line_with_the_cure(project_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnavailableError, match=r"matplotlib: not installed.*pip install -e '\.\[dev\]'"):
        plots.draw_plots(Path("out"))
    assert main.main(["plot"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_named(project_dir):
    Path("taken").touch()
    for path in ("taken", "taken/below"):
        with pytest.raises(InputError, match=rf"--out {path}: no folder"):
            plots.draw_plots(Path(path))


def test_the_rate_distortion_picture_has_a_panel_a_run_a_line_a_recipe_and_the_bound_of_the_last(project_dir):
    panels = figure_of("rate_distortion.png").axes
    assert [axes.get_title() for axes in panels] == [f"run{run} (not drawn, under 0.0001 bpb: 2)" for run in range(2)]
    for axes in panels:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        record, ours, bound = axes.get_lines()
        assert [line.get_label() for line in (record, ours, bound)][:2] == ["record", "columns, rows"]
        assert bound.get_label() == "columns, rows: order-0 entropy"
        assert ours.get_xydata().tolist() == [[0.4, 0.02], [0.7, 0.004]]
        assert bound.get_xydata().tolist() == [[0.399901, 0.02], [0.699901, 0.004]]
        assert bound.get_linestyle() == "--"


def test_a_run_in_which_nothing_was_lost_is_a_panel_that_says_so(project_dir):
    io.write_csv(CURVES, [row | {"lost": 0.0} for row in curves(1)])
    plots.draw_plots(Path("out"))
    assert size(project_dir / "out/rate_distortion.png") == (550, 450)
    assert figure_of("rate_distortion.png").axes[0].get_title() == "run0 (not drawn, under 0.0001 bpb: 6)"


@pytest.mark.parametrize("values", [[1.0], [1.3], [0.0021, 0.04], [13.2, 17.9], [0.99e-3], [99.9], [10.1]])
def test_a_logarithmic_axis_has_a_plain_number_in_sight_and_every_value_within(values):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set_xscale("log")
    plots.set_log_ticks(axes.xaxis, values)
    low, high = axes.get_xlim()
    assert low < min(values) <= max(values) < high
    ticks = axes.xaxis.get_ticklocs()
    assert len(ticks) >= 1
    assert low <= min(ticks) <= max(ticks) <= high
    assert [float(label.get_text()) for label in axes.get_xticklabels()] == pytest.approx(list(ticks))


def test_bits_by_column_show_a_line_a_tensor_and_the_mean_of_each_class(project_dir):
    rows = plots.read_csv(COLUMNS, plots.COLUMN_GROUP_COLUMNS)
    second = [row | {"tensor": "blocks.1.mlp.fc.weight", "bits": row["bits"] + 1} for row in rows[:16]]
    io.write_csv(COLUMNS, rows + second)
    lines = figure_of("bits_by_column.png").axes[0].get_lines()
    means = {line.get_label(): list(line.get_ydata()) for line in lines if line.get_linewidth() > 1}
    assert len(lines) == 5
    assert means["matrix, mean over tensors"] == [2.5 + group / 8 for group in range(1, 17)]
    assert means["embed, mean over tensors"] == [2 + group / 8 for group in range(1, 17)]


def test_bits_by_tensor_are_bars_as_long_as_the_bits(project_dir):
    axes = figure_of("bits_by_tensor.png").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blocks.0.mlp.fc.weight", "tok_emb.weight"]
    assert [bar.get_width() for bar in axes.patches] == [2.5, 2.5]


def test_the_bar_of_bytes_says_of_each_part_how_many_and_which_share(project_dir):
    figure = figure_of("bytes.png")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["int8: 900 bytes, 90.0%", "code: 60 bytes, 6.0%", "headroom: 40 bytes, 4.0%"]
    ends = [(bar.get_x() * 1e6, bar.get_width() * 1e6) for bar in figure.axes[0].patches]
    assert ends == [pytest.approx(each) for each in ((0, 900), (900, 60), (960, 40))]
