"""For people: what lies in an artifact, how a run ended, whether params.yaml is sound."""
