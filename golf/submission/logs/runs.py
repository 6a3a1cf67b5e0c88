"""Split the text of a log file into runs: some files hold several, written one after another."""

from golf.submission.logs import patterns

__all__ = ["split_runs"]

_MAX_EVENTS = 200_000  # lines that are looked at; real logs have at most some 20,000
_MIN_STEPS = 10  # after which a first step means another run: the ranks of one run may print theirs out of order


def split_runs(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each run, in order; the whole text if it is one.

    A run ends where the next one begins: at a header or a first step after training has run or a score was printed, or
    after a traceback. What comes before the first header belongs to the first run.
    """
    starts = [0]
    last_step, n_scores, has_crashed = 0, 0, False
    pending_start: int | None = None  # of a header, after which no step or score has come yet
    for n_events, match in enumerate(patterns.RUN_EVENT.finditer(text)):
        if n_events >= _MAX_EVENTS:
            return [(0, len(text))]
        kind = match.lastgroup
        has_run = last_step > _MIN_STEPS or n_scores > 0 or has_crashed
        if kind == "start":
            if has_run and pending_start is None:
                pending_start = match.start()
        elif kind in ("step", "bare_step"):
            step = int(match[kind])
            if pending_start is not None or (step <= 1 and (last_step > _MIN_STEPS or n_scores)):
                starts.append(match.start() if pending_start is None else pending_start)
                last_step, n_scores, has_crashed, pending_start = 0, 0, False, None
            last_step = max(last_step, step)
        elif kind == "score":
            if pending_start is not None and n_scores:
                starts.append(pending_start)
                last_step, n_scores, has_crashed = 0, 0, False
            pending_start = None
            n_scores += 1
        elif kind == "crash":
            has_crashed = has_crashed or last_step > 0
    ends = [*starts[1:], len(text)]
    return list(zip(starts, ends, strict=True))
