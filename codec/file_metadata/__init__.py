"""The metadata of image files of other formats: what is kept, what is dropped and named, and how it is written."""
