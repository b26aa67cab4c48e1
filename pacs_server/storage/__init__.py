"""Bytes on volumes: written once, flushed, never changed. Knows nothing of DICOM services or rows."""
