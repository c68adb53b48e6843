"""The bytes of files, as docs/FORMAT.md describes them: headers, containers, archive indices, metadata, stored images.

Nothing here decodes a pixel or needs the compiler of kernels, so `codec.info` answers at once.
"""
