"""Open a sandbox on an external project, print its process id and folder, and score forever. Argument: the project."""

import sys
from pathlib import Path

from golf.evaluation.sandbox.host import Sandbox
from tests.helpers.external_predictors import ScriptedTTTConfig, evaluate_settings, token_array

if __name__ == "__main__":
    project = Path(sys.argv[1])
    with Sandbox(evaluate_settings(project), project) as sandbox, sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig("never_returns"))
        print(sandbox.process.pid, sandbox.folder, flush=True)
        session.score(token_array(1), token_array(2))
