"""The DICOM upper layer and DIMSE messages, both roles, on pynetdicom's codecs. Knows no services, files or rows."""
