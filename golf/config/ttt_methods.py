"""What a method of test-time training consists of, for the plan, the code that is packed and the script of a bundle."""

__all__ = ["has_adapters", "has_phases"]


def has_adapters(method: str, lora_lr: float | None) -> bool:
    """Return whether low-rank adapters learn, so that the section lora is read. lora_lr: ``phased.lora_lr``."""
    return method == "lora" or (has_phases(method) and lora_lr is not None)


def has_phases(method: str) -> bool:
    """Return whether the section phased is read."""
    return method == "phased"
