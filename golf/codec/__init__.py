"""From integers to one small file, and exactly back."""
