"""Proposing candidates and stopping trials early."""
