"""Freezing and thawing: float networks become the integers that `codec` executes, and the other way round.

Training needs floats and decoding needs integers. Only this folder changes models from one to the other. `quantise` and
`filling` have what all models share. For each kind of model one module freezes and another thaws.
"""
