"""Epochs of AdamW before quantisation, on dev: text held out from training that no score is made on."""

from gallery.case import Compliant
from gallery.prequant_on_val import SETTINGS, prepare_project

CASE = Compliant("pre-quantisation TTT on dev", settings=SETTINGS | {"ttt.stream": "dev"})
