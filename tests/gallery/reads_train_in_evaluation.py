"""GPTQ calibrated on training data during evaluation, after the training time is over (#535, #639, #674)."""

from gallery.case import Violation
from gallery.reads_val_file import CasePredictor as Reader

CASE = Violation(10, "training data opened in evaluation", "#535 #545 #569 #609 #639 #674", ("C1-g", "B-b"))


class CasePredictor(Reader):
    file = "train/train_000000.bin"
