"""A fixed predictor that imports one more module of golf at its first update, which adds a name to the package."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("a fixed predictor with an import in update", settings={"evaluate.headline": "sliding"})


class CasePredictor(BigramPredictor):
    def update(self, scored_chunk) -> None:
        from golf import errors

        assert issubclass(errors.ArtifactError, errors.GolfError)
