"""The models of vlae in torch: definition, training, evaluation and freezing to integers."""
