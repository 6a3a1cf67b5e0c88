"""golf: train, compress and honestly score the best small language model that fits in 16,000,000 bytes."""
