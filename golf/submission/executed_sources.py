"""The files of a submission that its script executes: by import, by name in a literal, and inside packed literals.

Nothing is run. A file that a literal names may be opened for another reason, so a file that is only read as text can be
counted; none that a statement or a literal names is missed.
"""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from golf.errors import ArtifactError
from golf.submission import import_scan, packed_sources, safe_reader
from golf.submission.safe_reader import MAX_CODE_BYTES, SubmissionDir

__all__ = ["SCRIPT_NAME", "SCRIPT_PATTERN", "ExecutedSources", "find_executed_sources"]

SCRIPT_NAME = "train_gpt.py"
SCRIPT_PATTERN = re.compile(r"(?i)train_gpt[\w.-]{0,80}\.py")
_OTHER_SCRIPT_PATTERN = re.compile(r"(?i)(?:train|main|run)[\w.-]{0,80}\.py")
_NATIVE_CODE_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp", ".so", ".rs", ".ptx", ".cubin")
_CODE_SUFFIXES = (".py", ".pyc", ".pyx", ".sh", *_NATIVE_CODE_SUFFIXES)
_NEVER_CODE = re.compile(
    r"(?i)(?:.*/)?(?:readme.*|submission.*\.json|.*\.(?:log|md|model|vocab|ptz|safetensors|pt|pth|golf|npz?|png|csv))"
)
_LITERAL = re.compile(r"[\"'](?=([^\"'\n]{1,300})[\"'])")  # after every quote, as an apostrophe may come before one
_EXECUTION = re.compile(
    r"(?<![.\w])(?:exec|eval|compile|execfile|run_path)\s*+\(|\brunpy\b|\b(?:execv\w*|exec_module|marshal\.loads)\s*+\("
)
_NAMED_MODULE = re.compile(
    r"(?:import_module|__import__|run_module)\s*+\(\s*+[\"']([\w.]{1,200})[\"']|-m[\"']?,?\s*+[\"']?([\w.]{1,200})"
)
_COMMAND = re.compile(
    r"(?:\S{0,100}/)?(?:python[\d.]{0,4}|torchrun|gcc|g\+\+|cc|c\+\+|clang|nvcc|bash|sh|cargo|rustc|make)\s"
)
_FILE_NAME = re.compile(r"[\w./\-]+")
_MAX_LINES_EXAMINED = 1_000
_SHORT_SCRIPT_CHARS = 4_000  # of a script that does little but execute another file


@dataclass(frozen=True)
class ExecutedSources:
    """What the script executes.

    script: the file that starts it, "" for none. files: all executed files, the script among them, sorted. texts: the
    readable text of each, and of what is packed inside as ``NAME (unpacked)``. caveat: what could not be seen, or "".
    """

    script: str = ""
    files: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    caveat: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def is_packed(self) -> bool:
        """Whether the script holds its source in packed form."""
        return f"{self.script} (unpacked)" in self.texts


def find_executed_sources(folder: SubmissionDir) -> ExecutedSources:
    """Find what the script of a folder executes. All Python files count if there is no script."""
    python_files = tuple(folder.list_files_with_suffix(".py"))
    native_files = tuple(folder.list_files_with_suffix(*_NATIVE_CODE_SUFFIXES))
    candidates = _find_scripts(folder)
    if not candidates:
        caveat = f"every .py is counted: there is no {SCRIPT_NAME}" if python_files else ""
        return ExecutedSources("", tuple(sorted({*python_files, *native_files})), {}, caveat)
    script = candidates[0]
    texts: dict[str, str] = {}
    caveats: list[str] = []
    modules = import_scan.ModuleIndex(folder)
    reached: set[str] = set(native_files)
    pending = [script]
    while pending:
        file = pending.pop()
        if file in reached and file not in native_files:
            continue
        reached.add(file)
        for label, text in _read_sources(folder, file, caveats):
            texts[label] = text
            if file not in native_files:
                pending += [name for name in _find_referenced_files(folder, modules, file, text) if name not in reached]
    if folder.rejected and any(name.split(" ")[0].endswith(".py") for name in folder.rejected):
        caveats.append("a .py that can't be read is not counted")
    return ExecutedSources(script, tuple(sorted(reached)), texts, "; ".join(dict.fromkeys(caveats)), tuple(candidates))


def _find_scripts(folder: SubmissionDir) -> list[str]:
    """The files that may start it: train_gpt.py, else train_gpt_<word>.py, else train*.py; nearest first."""
    if SCRIPT_NAME in folder.sizes:
        return [SCRIPT_NAME]
    for pattern in (SCRIPT_PATTERN, _OTHER_SCRIPT_PATTERN):
        names = [name for name in folder.list_files_with_suffix(".py") if pattern.fullmatch(PurePosixPath(name).name)]
        if names:
            return sorted(names, key=lambda name: (name.count("/"), name))
    return []


def _read_sources(folder: SubmissionDir, file: str, caveats: list[str]) -> list[tuple[str, str]]:
    """The text of a file and what is packed in it, each with a label; [] for one that is no text."""
    try:
        data = safe_reader.read_bytes(folder, file, MAX_CODE_BYTES)
    except ArtifactError as error:
        caveats.append(str(error))
        return []
    if folder.sizes[file] > MAX_CODE_BYTES:
        caveats.append(f"{file}: {folder.sizes[file]:,} bytes, its imports are not followed")
        return []
    if packed_sources.is_archive(data):
        unpacked = packed_sources.read_archive_sources(data)
        caveats += [] if unpacked else [f"{file}: an archive that can't be read"]
        return [(f"{file} (unpacked)", "\n".join(unpacked))] if unpacked else []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if file.endswith(".py"):
            caveats.append(f"{file}: not UTF-8 at byte {error.start:,}, its imports are not followed")
        elif source := packed_sources.decompress_source(data):
            return [(f"{file} (unpacked)", source)]
        return []
    sources = [(file, text)]
    if unpacked := packed_sources.unpack_sources(text):
        sources.append((f"{file} (unpacked)", "\n".join(unpacked)))
    elif "exec(" in text and len(max(text.split("\n"), key=len)) > _SHORT_SCRIPT_CHARS:
        caveats.append(f"{file}: executes packed text that can't be unpacked, whose imports are not seen")
    return sources


def _find_referenced_files(folder: SubmissionDir, modules: import_scan.ModuleIndex, file: str, text: str) -> set[str]:
    """The files of the folder that a source imports, or names in a literal as code or as what it executes."""
    names = [name for match in _NAMED_MODULE.finditer(text) for name in match.groups() if name]
    referenced = modules.find_imports(file, text) | modules.find_modules(file, names)
    by_name: dict[str, str] = {}
    for name in folder.sizes:
        by_name.setdefault(PurePosixPath(name).name, name)
        by_name[name] = name
    executes = _EXECUTION.search(text) is not None
    is_short = executes and len(text) < _SHORT_SCRIPT_CHARS
    n_examined = 0
    for match in _LITERAL.finditer(text):
        literal = match[1]
        words = _FILE_NAME.findall(literal) if _COMMAND.match(literal) else [literal] if " " not in literal else []
        for word in words:
            name = by_name.get(word.removeprefix("./")) or by_name.get(word.rpartition("/")[2], file)
            if name == file or name in referenced or _NEVER_CODE.fullmatch(name):
                continue
            if name.lower().endswith(_CODE_SUFFIXES) or is_short:
                referenced.add(name)
            elif executes and n_examined < _MAX_LINES_EXAMINED:
                n_examined += 1
                referenced |= {name} if _on_executing_line(text, match) else set()
    return referenced


def _on_executing_line(text: str, match: re.Match[str]) -> bool:
    start = max(text.rfind("\n", 0, match.start()) + 1, match.start() - 1_000)
    end = min(end if (end := text.find("\n", match.end())) >= 0 else len(text), match.end() + 1_000)
    return _EXECUTION.search(text, start, end) is not None
