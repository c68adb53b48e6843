"""Many images, each a file of its own: which outputs they get, which are finished, the work in several processes."""
