"""README.md and docs/: generated blocks, links, citations and commands, and the tests that run these"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from golf.compliance.catalog import CHECKS
from tests.helpers import doc_pages, tested_commands
from tests.helpers.tiny_corpus import ROOT
from tools import docs, docs_config

ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")
CITATION = re.compile(r"docs/([\w-]+\.md)(?:#([\w-]+))?")
PAGE_NAME = re.compile(r"[\w./-]*\w\.md\b")
NO_PAGES = {"notes.md", "README.txt.md"}  # names of input files in tests
TEST_FILE = re.compile(r"(?:tests|\.github)/[\w./-]+\.(?:py|yml)")
CANNOT_RUN = re.compile(r"needs a GPU|needs 8 GPUs|changes the shell|takes hours on two cores")


def find_anchors(page: str) -> set[str]:
    """Explicit anchors and the ones that GitHub makes of headings."""
    text = doc_pages.read_page(page)
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return set(ANCHOR.findall(text)) | slugs


def test_every_generated_block_equals_its_source():
    problems = docs.check_blocks()
    assert not problems, "\n".join(problems)


def test_a_block_that_differs_is_found_and_names_the_command(monkeypatch, tmp_path):
    (tmp_path / "PAGE.md").write_text("before\n<!-- speeds -->\nold\n<!-- /speeds -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "CODE_BLOCKS", (("PAGE.md", "speeds", lambda: "new\n"),))
    monkeypatch.setattr(docs, "RESULT_BLOCKS", ())
    monkeypatch.setattr(docs, "METRICS_FILES", {})
    assert docs.check_blocks() == [
        "PAGE.md: the block <!-- speeds --> differs from its source; run python -m tools.docs"
    ]
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    assert (tmp_path / "PAGE.md").read_text(encoding="utf-8").splitlines() == [
        "before", "<!-- speeds -->", "new", "<!-- /speeds -->", "after",
    ]  # fmt: skip
    (tmp_path / "PAGE.md").write_text("no markers\n", encoding="utf-8")
    assert docs.main([]) == 1


def test_every_key_of_params_yaml_has_a_meaning():
    assert docs_config.list_missing_meanings() == []


def test_every_profile_is_a_column_of_the_page_of_the_configuration():
    header = re.search(r"(?m)^\| key \|.*$", doc_pages.read_page("docs/configuration.md"))[0]
    profiles = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
    assert [cell.strip() for cell in header.strip("|").split("|")][4:] == profiles


def test_the_readme_is_a_page_of_150_lines():
    assert len(doc_pages.read_page("README.md").splitlines()) <= 150


def test_every_check_of_the_verdict_has_a_place_on_its_page():
    anchors = [anchor for anchor in ANCHOR.findall(doc_pages.read_page("docs/evaluation-rules.md")) if "-" in anchor]
    check_anchors = [anchor for anchor in anchors if re.fullmatch(r"[cmbu]\d?-[a-z]", anchor)]
    assert f"runs {len(CHECKS)} checks" in " ".join(doc_pages.read_page("README.md").split())
    assert check_anchors == [spec.docs_link.partition("#")[2] for spec in CHECKS.values()]


@pytest.mark.parametrize("page", doc_pages.PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    dangling = []
    for target, anchor in LINK.findall(doc_pages.read_page(page)):
        file = (ROOT / page).parent / target if target else ROOT / page
        if not file.exists():
            dangling.append(target)
        elif anchor and anchor not in find_anchors(file.resolve().relative_to(ROOT).as_posix()):
            dangling.append(f"{target}#{anchor}")
    assert dangling == []


def is_page(name: str) -> bool:
    """Whether a name that ends in .md is that of a page of the repository, in full or below docs/."""
    return name in NO_PAGES or (ROOT / name).is_file() or (ROOT / "docs" / name).is_file()


def test_every_citation_in_the_code_names_a_committed_document_and_an_anchor_of_it():
    dangling = []
    for path in doc_pages.list_sources():
        if path.name == "test_docs.py":
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        dangling += [f"{name}: {page}" for page in PAGE_NAME.findall(text) if not is_page(page)]
        for page, anchor in CITATION.findall(text):
            if not (ROOT / "docs" / page).is_file() or (anchor and anchor not in find_anchors(f"docs/{page}")):
                dangling.append(f"{name}: docs/{page}#{anchor}")
    assert not dangling, "\n".join(dangling)


def read_table(column: int) -> dict[str, set[str]]:
    """The names in one column of the table of stages on the page of the pipeline, by stage."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    rows = re.findall(r"(?m)^\| (\w+) \| ([^|]*) \| ([^|]*) \|$", doc_pages.read_page("docs/pipeline.md"))
    cells = {row[0]: re.findall(r"`([^`]+)`", row[column]) for row in rows if row[0] in stages}
    assert cells.keys() == stages.keys()
    return {stage: {name.rstrip("/") for name in names} for stage, names in cells.items()}


def test_the_page_of_the_pipeline_names_every_artifact_that_a_stage_reads():
    named = {stage: {f"artifacts/{name}" for name in names if "/" in name} for stage, names in read_table(1).items()}
    deps = {stage: doc_pages.list_paths(stage, "deps") for stage in named}
    assert named == {stage: {path for path in paths if path.startswith("artifacts/")} for stage, paths in deps.items()}


def test_the_page_of_the_pipeline_names_every_output_of_a_stage():
    named = {f"artifacts/{stage}/{name}" for stage, names in read_table(2).items() for name in names}
    assert named == {path for path in doc_pages.list_outputs() if Path(path).name not in ("run.json", "metrics.json")}


@pytest.mark.parametrize("page", doc_pages.PAGES)
def test_every_path_that_a_page_names_exists(page):
    text, outputs = doc_pages.read_page(page), doc_pages.list_outputs()
    known = outputs | {Path(path).parent.as_posix() for path in outputs}  # a page may also name a file in an output
    sources = re.findall(r"`((?:golf|stages|tests|tools|benchmarks|profiles|texts|docs)/[\w/.-]*)`", text)
    artifacts = set(re.findall(r"\bartifacts/[\w/.-]+\w", text)) - {
        "artifacts/plots",
        "artifacts/STAGE",
    }  # golf plot's; any
    missing = [path for path in sources if not (ROOT / path).exists()]
    missing += [path for path in artifacts if path not in known and Path(path).parent.as_posix() not in outputs]
    assert missing == []


def test_the_layers_on_the_page_of_the_architecture_are_the_packages_of_golf():
    rows = re.findall(r"(?m)^\| \d+ \| `(\w+)`", doc_pages.read_page("docs/architecture.md"))
    packages = {path.parent.name for path in (ROOT / "golf").glob("*/__init__.py")}
    assert sorted(rows) == sorted([*packages, "errors"])


def test_every_command_of_the_pages_names_programs_options_and_keys_that_exist():
    commands = [(block.page, command) for block in doc_pages.list_shell_blocks() for command in block.commands]
    commands += [(page, span) for page in doc_pages.PAGES for span in doc_pages.list_command_spans(page)]
    assert len(commands) > 60
    problems = [(page, command, doc_pages.find_problem(command)) for page, command in commands]
    faulty = [f"{page}: {command}: {problem}" for page, command, problem in problems if problem]
    assert not faulty, "\n".join(faulty)


@pytest.mark.parametrize(
    "command",
    [
        "golf no-such-command",
        "golf verdict --no-such-option",
        "python -m tools.no_such_tool",
        "python -m tools.docs --no-such-option",
        "PYTHONPATH=. python benchmarks/no_such_script.py",
        "PYTHONPATH=. python benchmarks/gptq.py --no-such-option",
        "dvc repro no_such_stage",
        "dvc repro --no-such-option",
        "dvc exp run -S ttt.no_such_key=1",
        "make no-such-target",
        "pip install -e '.[no_such_extra]'",
        "pip install -e '.[hub,no_such_extra]'",
        "cp profiles/no_such_profile.yaml params.yaml",
        "export GOLF_NO_SUCH_VARIABLE=1",
        "no-such-program",
    ],
)
def test_a_command_that_cannot_work_is_found(command):
    assert doc_pages.find_problem(command)


def find_marker_problem(marker: str) -> str | None:
    """What is wrong with a not-run marker, which names existing tests or one of the reasons in CANNOT_RUN."""
    files = TEST_FILE.findall(marker)
    missing = [file for file in files if not (ROOT / file).is_file()]
    if missing:
        return f"{missing} do not exist"
    return None if files or CANNOT_RUN.fullmatch(marker) else "names neither a test nor a reason"


@pytest.mark.parametrize("marker", ["", "minutes", "tests/unit/no_such_test.py"])
def test_a_marker_without_an_existing_test_is_found(marker):
    assert find_marker_problem(marker)


def test_every_shell_block_is_run_by_a_test_or_says_why_not():
    blocks = [block for block in doc_pages.list_shell_blocks() if block.not_run is not None]
    problems = [(block.page, block.not_run, find_marker_problem(block.not_run)) for block in blocks]
    assert [problem for problem in problems if problem[2]] == []
    unmarked = re.compile(r"(?m)^```\n(?:golf|dvc|make|python|pip) ")
    unmarked_fences = [page for page in doc_pages.PAGES if unmarked.search(doc_pages.read_page(page))]
    assert unmarked_fences == [], "a block of commands is fenced by ```sh"


def test_a_block_that_names_tests_holds_the_commands_that_they_run():
    untested = [
        f"{block.page}: {command}: no such command in {', '.join(files)}"
        for block in doc_pages.list_shell_blocks()
        if (files := TEST_FILE.findall(block.not_run or ""))
        for command in block.commands
        if not tested_commands.contains_command(command, files)
    ]
    assert not untested, "\n".join(untested)


def test_every_script_that_a_page_names_in_its_text_is_run_by_a_test():
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/unit/benchmarks").glob("test_*.py")]
    spans = [(page, span) for page in doc_pages.PAGES for span in doc_pages.list_command_spans(page)]
    scripts = [(page, span) for page, span in spans if span.startswith(("python benchmarks/", "PYTHONPATH=."))]
    assert scripts
    assert [span for _, span in scripts if not tested_commands.contains_command(span, files)] == []


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("dvc exp run --temp -S ttt.lr=0.0005", "tests/dvc/test_dvc.py"),
        ("dvc exp run -S ttt.epochs=3", "tests/dvc/test_dvc.py"),
        ("dvc queue start --jobs 2", "tests/dvc/test_sweep.py"),
        ("dvc repro evaluate", "tests/dvc/test_sweep.py"),
        ("golf check-submission FOLDER --base OTHER", "tests/unit/cli/test_main.py"),
        ("python -m tools.ci deps", "tests/dvc/test_sweep.py"),
        ("export GOLF_PROBE_SEED=00", "tests/dvc/test_sweep.py"),
        ("cp profiles/laptop.yaml params.yaml", "tests/dvc/test_sweep.py"),
        ("make tests", ".github/workflows/ci.yml"),
        ("PYTHONPATH=. python benchmarks/codec.py", "tests/unit/benchmarks/test_gptq.py"),
    ],
)
def test_a_command_that_a_test_does_not_run_is_found(command, file):
    assert not tested_commands.contains_command(command, [file])


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("make run", "dvc repro"),
        ("make PYTHON=python3.12 run", "dvc repro"),
        ("make test", "-m pytest"),
        ("make test-all", "-m pytest"),
        ("make soak", "-m pytest"),
    ],
)
def test_make_knows_the_recipes_that_the_pages_name(command, part):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make, *arguments = command.split()
    recipe = subprocess.run(
        [make, "--dry-run", *arguments], cwd=ROOT, env=env, capture_output=True, check=True, text=True
    )
    assert part in recipe.stdout
