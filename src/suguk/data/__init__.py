"""Pairs from files to batches: read, checked, split, tokenised. No torch."""
