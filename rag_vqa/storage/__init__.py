"""Storage primitives: whole-file writes, the writer lock, fingerprints of a job."""
