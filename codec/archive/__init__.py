"""Archives: many images in one file, chained in blocks, each of which can be read alone."""
