"""Architectures, one module per family. Adding a module adds its networks to the package."""
