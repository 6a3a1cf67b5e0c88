"""Run a script with its arguments where neither golf nor a package that a bundle must not need can be imported."""

import runpy
import sys
from pathlib import Path

_REFUSED = ("dvc", "ruamel", "yaml", "safetensors", "psutil", "filelock", "zstandard", "scipy", "stages")


def main() -> None:
    for name in _REFUSED:
        sys.modules[name] = None  # an import then raises ModuleNotFoundError
    sys.meta_path = [finder for finder in sys.meta_path if "editable" not in f"{finder!r}"]
    sys.path = [folder for folder in sys.path if not Path(folder, "golf").is_dir()]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
