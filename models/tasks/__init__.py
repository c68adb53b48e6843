"""What recipes train: each task has its model, batches, loss and figures."""
