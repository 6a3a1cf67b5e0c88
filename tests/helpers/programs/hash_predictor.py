"""Print the hash of the state of tests.helpers.stateful_predictor."""

from golf.evaluation.sandbox import state_hash
from tests.helpers import stateful_predictor

if __name__ == "__main__":
    print(state_hash.hash_state(stateful_predictor.make_predictor()))
