"""The deeds of the archive, one file each; each can be read without the others."""
