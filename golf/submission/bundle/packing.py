"""Pack the script of a bundle: one file that trains, compresses and scores without this repository.

The file is a zip archive, which ``python train_gpt.py`` and torchrun run by its ``__main__.py``. That unpacks the
member ``code`` with LZMA: the driver and what it uses of golf with its settings, minified, and the settings as JSON. A
text file would need base 85, a quarter more bytes (docs/submission.md#format).
"""

import ast
import io
import json
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from golf.artifacts import source_deps
from golf.compression import code_archive
from golf.errors import ArtifactError
from golf.evaluation.fence.environment import SPIN_COUNT
from golf.submission.bundle import tree_shaking, unused_code

__all__ = ["DRIVER", "SCRIPT_NAME", "SECTIONS", "list_packages", "pack_bundle", "read_modules", "read_settings"]

DRIVER = "golf/submission/bundle/driver.py"
SCRIPT_NAME = "train_gpt.py"
_TTT_SECTIONS = ("ttt", "lora", "phased", "memory")
SECTIONS = ("model", "train", "ema", "calibrate", "quantize", "compress", *_TTT_SECTIONS, "evaluate")
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 0}]
_NEVER_CALLED = (  # methods that a script never calls although something else of the same name is called
    "golf.evaluation.ledger.Ledger.save",
    "golf.training.muon.Muon.load_state_dict",
    "golf.training.muon.Muon.state_dict",
    "golf.training.optimizer.MuonAdamW.load_state_dict",
    "golf.training.optimizer.MuonAdamW.state_dict",
)
_SEPARATOR = "\f"  # before each module; what Python treats as white space, so that the text stays readable
_MEMBER = "code"
_MAIN = f"""import lzma
c=lzma.decompress(__loader__.get_data("{_MEMBER}")).decode().split("\\f")
exec(c[0])
"""
# OpenMP reads its settings when torch loads it, so they come first. Modules come after what they import, so each runs
# at once and finds the others in sys.modules.
_LOADER = f"""import linecache,os,sys,types
if "OMP_WAIT_POLICY" not in os.environ:os.environ.setdefault("GOMP_SPINCOUNT","{SPIN_COUNT}")
for s in c[1:]:
 n,s=s.split("\\n",1);k=n
 while k and k not in sys.modules:sys.modules[k]=types.ModuleType(k);k=k.rpartition(".")[0]
 m=sys.modules[n];m.__file__=n;linecache.cache[n]=len(s),None,s.splitlines(True),n
 exec(compile(s,n,"exec"),m.__dict__)
"""
_FORMAT_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError)
_READ_ERRORS = (*_FORMAT_ERRORS, EOFError, KeyError, OSError, RuntimeError, ValueError)  # of a damaged archive
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of a zip archive: equal sources give equal bytes


def pack_bundle(sections: Mapping[str, Mapping[str, Any]], root: str | Path = ".") -> bytes:
    """Return the bytes of train_gpt.py for the settings in ``sections``, those of SECTIONS by name.

    root: the folder of golf's sources. One Python version always gives equal bytes.
    """
    settings = json.dumps({name: sections[name] for name in SECTIONS}, separators=(",", ":"))
    unused = [*_NEVER_CALLED, *unused_code.list_unused_code(sections)]
    parts = [_LOADER, *(f"{name}\n{source}" for name, source in _reduce_sources(Path(root), unused).items())]
    parts.append(f"__main__\nimport golf.submission.bundle.driver as d\nS={settings!r}\nd.main(S)\n")
    payload = lzma.compress(_SEPARATOR.join(parts).encode(), format=lzma.FORMAT_ALONE, filters=_LZMA_FILTERS)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN)
        file.writestr(zipfile.ZipInfo(_MEMBER, _EPOCH), payload)
    return archive.getvalue()


def _reduce_sources(root: Path, unused: Collection[str]) -> dict[str, str]:
    """The minified source of each module that the driver uses, by dotted name, each after what it imports."""
    sources = {
        file.removesuffix(".py").replace("/", "."): code_archive.minify((root / file).read_bytes(), file).decode()
        for file in source_deps.find_import_closure(DRIVER, root=root)
        if not file.endswith("__init__.py")
    }
    driver = DRIVER.removesuffix(".py").replace("/", ".")
    shaken = tree_shaking.shake_sources(sources, driver, excluded=unused)
    return {name: code_archive.minify(source.encode(), name).decode() for name, source in shaken.items()}


def read_modules(packed: bytes, path: str | Path = SCRIPT_NAME) -> dict[str, str]:
    """Return the sources inside a bundle's file by module name; the last one, ``__main__``, holds the settings.

    path: of the file, for the message. Raises ArtifactError for anything that ``pack_bundle`` did not write.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as file:
            stream = file.read(_MEMBER)
        decoder = lzma.LZMADecompressor(memlimit=256 << 20)
        payload = decoder.decompress(stream, max_length=code_archive.MAX_SOURCE_BYTES)
        if not decoder.eof or decoder.unused_data:
            raise ValueError(f"its stream does not end within {code_archive.MAX_SOURCE_BYTES:,} bytes")
        parts = payload.decode().split(_SEPARATOR)[1:]
    except _READ_ERRORS as error:
        raise ArtifactError(path, f"not a bundle ({error})") from None
    modules = (part.partition("\n") for part in parts)
    return {name: source for name, _, source in modules}


def read_settings(packed: bytes) -> dict[str, dict[str, Any]]:
    """Return the sections inside a bundle's file that ``pack_bundle`` wrote; its digest must have been checked."""
    line = next(line for line in read_modules(packed)["__main__"].splitlines() if line.startswith("S="))
    sections: dict[str, dict[str, Any]] = json.loads(ast.literal_eval(line[2:]))
    return sections


def list_packages(packed: bytes) -> list[str]:
    """Return the packages that a bundle's file imports, of neither the standard library nor golf, sorted."""
    imported = set()
    for source in read_modules(packed).values():
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.partition(".")[0] for name in names}
    return sorted(imported - sys.stdlib_module_names - {"golf"})
