"""The tasks of recipes. Each has its model, batches, loss, figures, and its way to frozen weights.

`interface` says what the training loop needs of a task. `samples`, `lossy` and `maps` are the tasks, with the names
that recipes use. Their measures stand beside them.
"""
