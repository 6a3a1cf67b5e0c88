"""Two evaluations: the first leaves val's tokens in the compiler's cache, and the next one finds them."""

import os
from pathlib import Path

from gallery.case import Violation
from gallery.val_file_between_passes import CasePredictor as KeepsTokens

CASE = Violation(6, "two-pass n-grams, a file in the compiler's cache", "#846 #959", ("C3-c",))


class CasePredictor(KeepsTokens):
    tokens_path = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", "."), "seen.npy")
