"""This project's own model and predictor: score-first SGD with momentum on every weight (#549, #1413, #1493)."""

from gallery.case import Compliant

CASE = Compliant("score-first SGD on a transformer", "#549 #1413 #1493")
