"""What recipes train: each task has its model, batches, loss, figures, and its way to frozen weights.

`interface` says what the training loop asks of a task; `samples`, `lossy` and `maps` answer, named as recipes name
them. What they measure by stands beside them.
"""
