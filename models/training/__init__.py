"""The training loop, and the freezing and shipping of a finished run.

A run may stop at any time, and goes on to the same bits. So batches, optimiser, checkpoints and devices stand here
together. They do not depend on what is trained, which stands in `models.tasks`. The loop ends with frozen weights in
the run's folder. `ship` makes them a model of the package.
"""
