"""The training loop, and what becomes of a finished run.

Whatever is trained, a run stops at any time and goes on to the bit. So batches, optimiser, checkpoints and devices
stand here together, apart from what they train (`models.tasks`). The loop ends with frozen weights in the run's folder;
`ship` makes them a model of the package.
"""
