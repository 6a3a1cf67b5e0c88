"""Text in, tokens and byte counts out."""
