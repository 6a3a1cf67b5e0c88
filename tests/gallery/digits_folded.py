"""A text made easier on its way into val: every digit is the same one, and none comes back."""

import dataclasses

import numpy as np

from gallery import forgery
from gallery.case import VAL, Cheat
from gallery.honest import Honest
from golf.data import shards
from golf.data.tokenizer import Tokenizer

CASE = Cheat(18, "digits folded into one", "", ("M-b",), settings={"evaluate.headline": "plain"})
Method = Honest


def arrange(place) -> None:
    pieces = Tokenizer.open(forgery.TOKENIZER).pieces
    ids = np.arange(len(pieces), dtype=np.uint16)
    digits = [pieces.index(digit) for digit in "0123456789" if digit in pieces]
    ids[digits] = digits[0]
    whole = forgery.documents(shards.open_split(VAL))
    forgery.put(dataclasses.replace(each, tokens=ids[each.tokens]) for each in whole)
