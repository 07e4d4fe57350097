"""Runs side by side: rows, their statistics and pictures."""
