"""Import the modules that the arguments name in an interpreter in which DVC is not installed."""

import importlib
import sys

NOT_INSTALLED = ("dvc", "dvc_data", "dvc_objects", "scmrepo")


class NotInstalledFinder:
    """Raises ModuleNotFoundError for DVC's packages, as if they were absent."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in NOT_INSTALLED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, NotInstalledFinder())
    for module_name in sys.argv[1:]:
        importlib.import_module(module_name)
    try:
        importlib.import_module("dvc.api")
    except ModuleNotFoundError:
        print("not installed")
