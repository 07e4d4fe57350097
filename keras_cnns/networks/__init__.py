"""Architectures with their settings, costs, graphs, weights and recipes. Nothing here needs images."""
