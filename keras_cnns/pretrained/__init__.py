"""Pretrained weights: where they come from, and networks that begin with them."""
