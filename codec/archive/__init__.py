"""Archives: many images in one file, in blocks that can be read independently of each other."""
