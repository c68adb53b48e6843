"""The models of vlae in torch: definition, training, evaluation and freezing to integers.

`codec` needs none of it. This package writes weights files, and `codec` reads them.
"""
