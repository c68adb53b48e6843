"""Entropy coding: the rANS message, distributions on integer grids, and codecs that compose to bits-back."""
