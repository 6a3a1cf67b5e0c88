"""A predictor's module with state in a global and in a class attribute."""

SEEN = []


class Predictor:
    count = 0

    def score(self): ...
