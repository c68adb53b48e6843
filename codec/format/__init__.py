"""The bytes of files, as docs/FORMAT.md has them: headers, containers, archives' indices, metadata, stored pictures.

Nothing here decodes a pixel or needs the compiler of kernels, so `codec.info` answers at once.
"""
