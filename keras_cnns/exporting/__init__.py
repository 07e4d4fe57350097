"""Export of trained networks to the formats of other runtimes, each with a certificate of what it computes."""
