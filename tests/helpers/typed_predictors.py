"""The type checker reads this file: both classes must fulfill the contract ``golf.inference.interface.Predictor``."""

from golf.inference.interface import Predictor
from golf.inference.predictor import GolfPredictor
from tests.helpers.example_predictor import BigramPredictor

PREDICTORS: tuple[type[Predictor], ...] = (GolfPredictor, BigramPredictor)
