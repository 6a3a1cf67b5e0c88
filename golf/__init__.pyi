from golf.evaluation.loaded_model import LoadedModel as LoadedModel
from golf.evaluation.loaded_model import load as load
