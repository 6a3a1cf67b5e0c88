"""Evaluate: the artifact alone, in each way of scoring; the headline named beforehand; the probes and the verdict."""

from golf import judge
from golf.ground import lineage, meeting, params, stage, store
from golf.ground.runtime import Runtime
from golf.room.room import Room
from golf.rules import executions, trial, verdict
from golf.rules.court import Court, Text, execution
from golf.rules.evidence import Case

ARTIFACT = "artifacts/compress/model.golf"
CODE = "artifacts/compress/code.tar.xz"
SIZES = "artifacts/compress/sizes.json"
TOKENIZER = "artifacts/fetch/tokenizer.model"
MANIFEST = "artifacts/fetch/manifest.json"
TRAIN, DEV = "artifacts/fetch/train/index.json", "artifacts/fetch/dev/index.json"
VAL = "artifacts/fetch/val"
PLAN = "artifacts/ttt/plan.json"
TRAIN_CLOCK = "artifacts/train/clock.json"
CALIBRATE_CLOCK = "artifacts/calibrate/clock.json"
QUANTIZE_CLOCK = "artifacts/quantize/clock.json"
TTT_CLOCK = "artifacts/ttt/clock.json"
METRICS = "artifacts/evaluate/metrics.json"
RUN_CODE = "artifacts/evaluate/code.tar.xz"  # what the room ran: compress's, or packed here for another method
VERDICT = "artifacts/evaluate/verdict.json"
LEDGERS = "artifacts/evaluate/ledgers"
SO_FAR, BY_POSITION = "artifacts/evaluate/bpb_so_far.csv", "artifacts/evaluate/loss_by_position.csv"
LOG = "artifacts/evaluate/executions.jsonl"


def main() -> Runtime:
    keys = ("prequant.epochs", "model.context", "model.vocabulary", "compress.limit_bytes", "quantize.weights")
    evaluate, ttt, epochs, context, vocabulary, limit, weights = params.load("evaluate", "ttt", *keys)
    clocks = (TRAIN_CLOCK, CALIBRATE_CLOCK, QUANTIZE_CLOCK, *([TTT_CLOCK] if weights == "ttt" else []))
    meeting.same_inputs("evaluate", evaluate.artifact, CODE, PLAN, SIZES, VAL, TRAIN, DEV, TOKENIZER, MANIFEST, *clocks)
    code = None
    if evaluate.artifact == ARTIFACT:
        case = Case.own(ARTIFACT, CODE, SIZES, PLAN, context, *clocks)
        code = CODE if evaluate.method == trial.OWN else None
    else:
        case = Case.foreign(evaluate.artifact, PLAN, ttt, context)
    with Room(evaluate, code=code) as room:
        text = Text.open(VAL, TRAIN, DEV, TOKENIZER, MANIFEST, vocabulary)
        if stage.first():
            executions.append(LOG, execution(evaluate, case, text, stage.commit()))
        tried = trial.run(room, case, text.stream, evaluate, context=context, vocabulary=vocabulary)
    here = tried.sitting.here
    if not here.first:
        return here
    court = Court(evaluate, case, text, tried, room, limit, epochs)
    figures = court.figures(seconds=tried.seconds_since(stage.started()))
    inputs = {"val": VAL} | ({"artifact": ARTIFACT, "plan": PLAN} if case.clock else {})
    judged = lineage.file_digest(evaluate.artifact)  # a parameter, as a stranger's file may have no lineage to follow
    origin = lineage.of("evaluate", inputs, evaluate, judged, ranks=here.ranks)
    caveats = {way: case.caveat(way) for way in tried.judged}
    judge.save_ledgers(tried.judged, LEDGERS, caveats, stream="val", method=evaluate.method, lineage=origin)
    store.write_table(SO_FAR, judge.bpb_so_far(tried.judged))
    store.write_table(BY_POSITION, judge.loss_by_position(tried.judged))
    found = court.decide(figures, LEDGERS, LOG, hardware=stage.hardware(here), commit=stage.commit())
    store.write_json(VERDICT, found.tree())
    store.write_bytes(RUN_CODE, room.bundle)
    store.write_json(METRICS, figures | {"verdict": found.headline})
    stage.say(verdict.table(found.tree()))
    return here


if __name__ == "__main__":
    stage.enter("evaluate", main, apart=True, outs=(METRICS, VERDICT, LEDGERS, SO_FAR, BY_POSITION, RUN_CODE))
