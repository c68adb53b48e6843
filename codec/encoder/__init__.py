"""Encoding, with the choices that the format leaves to an encoder: searches and rounding. No decoder needs it."""
