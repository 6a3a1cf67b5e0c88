"""Every check of the verdict by name, in order: what it asks, and whether a record needs it to pass.

The names are those of the field guide to the four conditions (openai/parameter-golf, issue #1017); docs/legality.md
says of each what it proves and what it can't.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """needed: a run is no record before this check passes; the others are only told of."""

    title: str
    required_for_record: bool = True

    def docs_link(self, check_id: str) -> str:
        return f"docs/legality.md#{check_id.lower()}"


CHECKS = {
    "C1-a": CheckSpec("future tokens change no score"),
    "C1-b": CheckSpec("the target changes no distribution"),
    "C1-c": CheckSpec("documents are as independent as is said", required_for_record=False),
    "C1-d": CheckSpec("no name derived from a target reaches a gate", required_for_record=False),
    "C1-e": CheckSpec("no val byte reached artifact or plan"),
    "C1-f": CheckSpec("no document of val is in train or dev"),
    "C1-g": CheckSpec("nothing outside the artifact is read"),
    "C2-a": CheckSpec("probabilities add up to 1"),
    "C2-b": CheckSpec("one probability for each id"),
    "C2-c": CheckSpec("scores follow from a row made without target"),
    "C2-d": CheckSpec("alternatives' scores add up to 1"),
    "C2-e": CheckSpec("no blending after the target is gathered", required_for_record=False),
    "C3-a": CheckSpec("the ledger is the one sealed before each update"),
    "C3-b": CheckSpec("scoring changes nothing"),
    "C3-c": CheckSpec("an update changes later scores alone"),
    "C3-d": CheckSpec("the first score is made by the artifact as loaded"),
    "C3-e": CheckSpec("without updates it is the fixed predictor"),
    "C3-f": CheckSpec("the artifact's lineage is known and free of val"),
    "C4-a": CheckSpec("each target is scored once, in order"),
    "C4-b": CheckSpec("each position is read for scoring once"),
    "C4-c": CheckSpec("every execution is logged"),
    "C4-d": CheckSpec("seeds are declared"),
    "M-a": CheckSpec("implied bytes are the text's bytes"),
    "M-b": CheckSpec("the tokens decode to the text"),
    "M-c": CheckSpec("the tokens' bytes add up to the text's"),
    "M-d": CheckSpec("all of val is covered, its shards unchanged"),
    "M-e": CheckSpec("the headline is what the ledger says"),
    "B-a": CheckSpec("what would ship fits"),
    "B-b": CheckSpec("a clean process with the counted bytes alone scored it"),
    "B-c": CheckSpec("training and calibration fit their time"),
    "B-d": CheckSpec("evaluation fits its time"),
    "B-e": CheckSpec("on 8×H100 SXM"),
    "U-a": CheckSpec("several epochs on scored chunks", required_for_record=False),
    "U-b": CheckSpec("what the method itself calls disputed"),
}
