"""Name the stages, in the order of dvc.yaml. It imports nothing, so that any module may use it."""

__all__ = ["STAGES"]

STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
