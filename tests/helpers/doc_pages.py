"""The pages of documentation and the commands on them, and whether a command's words exist."""

import functools
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ruamel.yaml import YAML

from golf.cli import main as cli
from tests.helpers.tiny_corpus import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "texts/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)
_SHELL_BLOCK = re.compile(r"(?:<!-- not-run: ([^>]*) -->\n)?```sh\n(.*?)```", re.DOTALL)
_FENCED_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_COMMAND_SPAN = re.compile(r"`((?:golf|dvc|make|(?:PYTHONPATH=\. )?python|torchrun|pip install) [^`]+)`")
_PLACEHOLDERS = ("golf COMMAND", "python -m golf COMMAND")
_SHELL_WORDS = {"do", "done", "exit", "for", "git", "openssl", "PYTHONPATH=."}


@dataclass(frozen=True)
class ShellBlock:
    """A fenced block of shell commands.

    not_run: the files whose tests run its commands in another form, or why nothing can; None for a block that
    ``tests/integration/test_docs.py`` runs as it stands.
    """

    page: str
    text: str
    not_run: str | None

    @property
    def commands(self) -> list[str]:
        return [command for line in self.text.splitlines() for command in split_commands(line)]


def read_page(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def list_shell_blocks() -> list[ShellBlock]:
    return [
        ShellBlock(page, text, reason or None)
        for page in PAGES
        for reason, text in _SHELL_BLOCK.findall(read_page(page))
    ]


def list_command_spans(page: str) -> list[str]:
    """The commands that stand in running text, as `golf verdict --all`."""
    prose = _FENCED_BLOCK.sub("", read_page(page))
    spans = [" ".join(span.split()) for span in _COMMAND_SPAN.findall(prose)]
    return [span for span in spans if "…" not in span and "[" not in span and span not in _PLACEHOLDERS]


def split_commands(line: str) -> list[str]:
    """The commands of one shell line without comments; those inside $(…) come first."""
    inner = re.findall(r"\$\(([^)]*)\)", line)
    outer = re.sub(r"\$\([^)]*\)", "PLACEHOLDER", line)
    words = shlex.split(outer, comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "||", ";"):
            commands.append([])
        elif word.endswith(";"):
            commands[-1].append(word[:-1])
            commands.append([])
        else:
            commands[-1].append(word)
    return [*inner, *(shlex.join(command) for command in commands if command)]


def find_problem(command: str) -> str | None:
    """Why the command cannot work in this repository; None when its program, options and names exist."""
    words = shlex.split(command)
    while words and words[0] in ("do", "PYTHONPATH=."):
        words = words[1:]
    if not words or words[0] in _SHELL_WORDS or words[0] == ".":
        return None
    if words[:2] == ["python", "-m"]:
        return _check_module(words[2], words[3:])
    if words[0] == "torchrun":
        return _check_module(words[words.index("-m") + 1], [])
    checks = {
        "golf": _check_golf,
        "dvc": _check_dvc,
        "make": _check_make,
        "pip": _check_pip,
        "cp": lambda arguments: None if (ROOT / arguments[0]).exists() else f"{arguments[0]} does not exist",
        "export": _check_export,
        "python": lambda arguments: _check_script(arguments[0], arguments[1:]),
    }
    if words[0] not in checks:
        return f"unknown program {words[0]}"
    return checks[words[0]](words[1:])


def _check_golf(arguments: list[str]) -> str | None:
    try:
        cli.build_parser().parse_args(arguments)
    except SystemExit as exit_request:
        return "golf refuses these arguments" if exit_request.code else None
    return None


def _check_module(module: str, arguments: list[str]) -> str | None:
    if module == "golf":
        return _check_golf(arguments)
    if module == "stages.$stage":
        return None
    return _check_script(f"{module.replace('.', '/')}.py", arguments)


def _check_script(file: str, arguments: list[str]) -> str | None:
    if not (ROOT / file).is_file():
        return f"{file} does not exist"
    source = (ROOT / file).read_text(encoding="utf-8")
    unknown = [word for word in arguments if f'"{word}"' not in source and not word.isupper()]
    return f"{file} does not take {unknown}" if unknown else None


@functools.cache
def _load_dvc_parser() -> Any:
    """DVC's own parser. The folder tests/ is on sys.path, where its package dvc would hide DVC."""
    with mock.patch.object(sys, "path", [entry for entry in sys.path if Path(entry) != ROOT / "tests"]):
        from dvc.cli.parser import get_main_parser

        return get_main_parser()


@functools.cache
def _load_yaml(name: str) -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / name)


def list_paths(stage: str, *kinds: str) -> set[str]:
    """The paths of a stage in dvc.yaml with the values of params.yaml. kinds: deps, outs, metrics."""
    params = _load_yaml("params.yaml")
    entries = [entry for kind in kinds for entry in _load_yaml("dvc.yaml")["stages"][stage].get(kind, [])]
    paths = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
    return {re.sub(r"\$\{(\w+)\.(\w+)\}", lambda match: str(params[match[1]][match[2]]), path) for path in paths}


def list_outputs() -> set[str]:
    """The outputs of all stages, and the log that evaluate appends to, which is no output of DVC's."""
    log = "artifacts/evaluate/evaluation_log.jsonl"
    assert f'"{log}"' in (ROOT / "stages/evaluate.py").read_text(encoding="utf-8")
    return {log}.union(*(list_paths(stage, "outs", "metrics") for stage in _load_yaml("dvc.yaml")["stages"]))


def _check_dvc(arguments: list[str]) -> str | None:
    try:
        args = _load_dvc_parser().parse_args(arguments)
    except Exception as error:  # DVC's own error, of a class that its parser defines
        return f"dvc refuses these arguments: {error}"
    except SystemExit:
        return "dvc refuses these arguments"
    stages, params = _load_yaml("dvc.yaml")["stages"], _load_yaml("params.yaml")
    for setting in getattr(args, "set_param", None) or []:
        section, _, key = setting.partition("=")[0].partition(".")
        if key not in params.get(section, {}):
            return f"no key {section}.{key} in params.yaml"
    if arguments[0] in ("repro", "commit", "pull", "checkout"):
        known = stages.keys() | list_outputs()
        unknown = [target for target in args.targets if target not in known and not target.isupper()]
        if unknown:
            return f"no stage or output {unknown} in dvc.yaml"
    return None


def _check_make(arguments: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in arguments if "=" not in word]
    missing = [target for target in targets if not re.search(rf"(?m)^{re.escape(target)}:", makefile)]
    return f"no target {missing} in Makefile" if missing else None


def _check_pip(arguments: list[str]) -> str | None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = [
        extra for word in arguments for group in re.findall(r"\.\[([\w,]+)\]", word) for extra in group.split(",")
    ]
    missing = [extra for extra in extras if not re.search(rf"(?m)^{extra} = \[", pyproject)]
    return f"no extra {missing} in pyproject.toml" if missing else None


def _check_export(arguments: list[str]) -> str | None:
    files = [path for package in ("distributed", "pipeline") for path in (ROOT / "golf" / package).glob("*.py")]
    words = {word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    names = [argument.partition("=")[0] for argument in arguments]
    missing = [name for name in names if name not in words]
    return f"no code reads {missing}" if missing else None


def list_sources() -> list[Path]:
    """The files whose comments, docstrings and messages may cite a document."""
    folders = ("golf", "stages", "benchmarks", "tests", "tools")
    python_files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*python_files, *(ROOT / "profiles").glob("*.yaml"), ROOT / "params.yaml", ROOT / "dvc.yaml"])
