"""Epochs of AdamW before quantization on dev, which is held out from training and never scored."""

from gallery import prequant_on_val
from gallery.case import Compliant

CASE = Compliant("pre-quantization TTT on dev", settings=prequant_on_val.SETTINGS | {"ttt.stream": "dev"})
prepare_project = prequant_on_val.prepare_project
