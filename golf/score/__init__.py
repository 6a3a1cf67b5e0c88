"""What a model is worth: windows, nats, the ledger, bits per byte."""
