"""The models of vlae in torch: definition, training, evaluation and freezing to integers.

`codec` decodes without any of it; what leaves this package are weights files.
"""
