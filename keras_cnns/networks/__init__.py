"""Everything that needs no images: architectures, their settings, counts, graphs, weights and recipes."""
