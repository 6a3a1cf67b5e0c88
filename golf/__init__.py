"""golf: train, compress and honestly score the best small language model that fits in 16,000,000 bytes.

``golf.load("model.golf")`` opens an artifact: see ``golf.evaluation.loaded_model``.
"""


def __getattr__(name: str) -> object:
    """What golf/__init__.pyi declares, imported when it is first used, so that ``import golf`` stays cheap."""
    import importlib

    if name in ("LoadedModel", "load"):
        return getattr(importlib.import_module("golf.evaluation.loaded_model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
