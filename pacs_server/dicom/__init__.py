"""DICOM as values: identity, attributes, headers, text and matching. No sockets, no files, no rows."""
