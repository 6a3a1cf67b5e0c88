"""golf: train, compress and honestly score the best small language model that fits in 16,000,000 bytes.

The library has floors: a module imports only from floors below its own (``tests/unit/test_architecture.py`` reads this table).

floor 0  ground    what every stage stands on: errors, schema, shape, params, store, closure, lineage, runtime,
                   machine, meeting, stage
floor 1  data      text in, token shards and byte counts out
floor 1  model     the GPT, attention through one door, weights on disk
floor 1  codec     entropy coding and the .golf container
floor 1  budget    payload and code against the limit
floor 2  score     windows, nll, the ledger, bits per byte
floor 2  quant     Hessians, GPTQ, the grid of integer codes
floor 2  train     Muon, schedules, clock, loop, moving averages
floor 3  spend     the level of the column grid that fills the bytes there are
floor 3  ttt       score a chunk, seal it, only then learn from it; and the disputed order
floor 4  method    what is submitted: opens the artifact, scores, adapts
floor 5  room      a clean process of its own for the method under evaluation, and the one door to it
floor 6  judge     runs a method over held-out text and adds up its ledgers
floor 7  rules     the checks, the verdict
floor 8  submission  reads somebody else's submission folder and checks what needs no GPU
floor 9  looking   for people: inspect, results, lineage, compare, deps, ci
floor 10  __main__  python -m golf
"""
