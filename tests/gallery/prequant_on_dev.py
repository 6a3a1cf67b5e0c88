"""Epochs of AdamW before quantisation, on dev: text held out from training that no score is made on."""

from gallery.case import Innocent
from gallery.prequant_on_val import SETTINGS, arrange  # noqa: F401, the same stages

CASE = Innocent("pre-quantisation TTT on dev", settings=SETTINGS | {"ttt.stream": "dev"})
