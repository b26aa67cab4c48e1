"""The DICOM face: services on an association, and the one table of statuses."""
