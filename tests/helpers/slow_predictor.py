"""golf's predictor, which never answers on rank 0. A test copies it into a project."""

import time

from golf.inference.predictor import GolfPredictor


class SlowPredictor(GolfPredictor):
    def score(self, prefix, chunk):
        time.sleep(600 if self._ctx.is_main else 0)
        return super().score(prefix, chunk)
