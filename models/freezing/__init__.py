"""Between float networks and the integers that `codec` executes, in both directions.

Training needs floats and decoding needs integers, so a model changes from one to the other here, and nowhere else.
`quantise` and `filling` hold what all models share; a module that freezes a kind of model has one that thaws it.
"""
