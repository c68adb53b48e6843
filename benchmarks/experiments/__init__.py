"""Experiments that decide the models' shapes: each is a command that prints its table for docs/EXPERIMENTS.md."""
