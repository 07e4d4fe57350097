"""Which candidate is tried next, and which trial is stopped early."""
