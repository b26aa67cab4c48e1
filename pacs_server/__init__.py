"""A self-hosted DICOM archive: what it acknowledges, it keeps."""

__version__ = "0.1.0"
