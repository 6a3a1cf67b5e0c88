"""From weights to integers: what a layer reads, how codes are chosen, what they mean."""
