"""Every check of the verdict by name, in order: what it asks, and whether a record needs it to pass.

The names are those of the field guide to the four conditions (openai/parameter-golf, issue #1017); docs/legality.md
says of each what it proves and what it can't.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """needed: a run is no record before this check passes; the others are only told of."""

    title: str
    needed: bool = True

    def link(self, check: str) -> str:
        return f"docs/legality.md#{check.lower()}"


RULES = {
    "C1-a": Rule("future tokens change no score"),
    "C1-b": Rule("the target changes no distribution"),
    "C1-c": Rule("documents are as independent as is said", needed=False),
    "C1-d": Rule("no name derived from a target reaches a gate", needed=False),
    "C1-e": Rule("no val byte reached artifact or plan"),
    "C1-f": Rule("no document of val is in train or dev"),
    "C1-g": Rule("nothing outside the artifact is read"),
    "C2-a": Rule("probabilities add up to 1"),
    "C2-b": Rule("one probability for each id"),
    "C2-c": Rule("scores follow from a row made without target"),
    "C2-d": Rule("alternatives' scores add up to 1"),
    "C2-e": Rule("no blending after the target is gathered", needed=False),
    "C3-a": Rule("the ledger is the one sealed before each update"),
    "C3-b": Rule("scoring changes nothing"),
    "C3-c": Rule("an update changes later scores alone"),
    "C3-d": Rule("the first score is made by the artifact as loaded"),
    "C3-e": Rule("without updates it is the fixed predictor"),
    "C3-f": Rule("the artifact's lineage is known and free of val"),
    "C4-a": Rule("each target is scored once, in order"),
    "C4-b": Rule("each position is read for scoring once"),
    "C4-c": Rule("every execution is logged"),
    "C4-d": Rule("seeds are declared"),
    "M-a": Rule("implied bytes are the text's bytes"),
    "M-b": Rule("the tokens decode to the text"),
    "M-c": Rule("the tokens' bytes add up to the text's"),
    "M-d": Rule("all of val is covered, its shards unchanged"),
    "M-e": Rule("the headline is what the ledger says"),
    "B-a": Rule("what would ship fits"),
    "B-b": Rule("a clean process with the counted bytes alone scored it"),
    "B-c": Rule("training and calibration fit their time"),
    "B-d": Rule("evaluation fits its time"),
    "B-e": Rule("on 8×H100 SXM"),
    "U-a": Rule("several epochs on scored chunks", needed=False),
    "U-b": Rule("what the method itself calls disputed"),
}
