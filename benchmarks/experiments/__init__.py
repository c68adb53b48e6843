"""Experiments that decide which models are built; docs/EXPERIMENTS.md has what they found."""
