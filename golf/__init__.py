"""golf: train, compress and honestly score the best small language model that fits in 16,000,000 bytes.

The library has floors; a module imports only from floors below its own (``tests/test_floors.py`` reads this table).

floor 0  ground    what every stage stands on: errors, schema, shape, params, store, runtime, progress, stage
floor 1  data      text in, token shards and byte counts out
floor 1  model     the GPT, in two pieces
floor 1  codec     entropy coding and the .golf container
floor 2  score     windows, nll, the ledger, bits per byte
floor 2  quant     Hessians, GPTQ, the grid
floor 2  train     Muon, schedules, clock, loop, moving averages
floor 3  ttt       score a chunk, seal it, only then learn from it
floor 4  method    what is submitted: opens the artifact, scores, adapts
floor 5  closure   which files a script reaches by importing, and what they weigh
floor 6  looking   golf inspect, golf results, golf params
"""
