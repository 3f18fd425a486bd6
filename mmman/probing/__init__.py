"""What was learned: CKA, linear probes, Grad-CAM, what local heads predict, the history of a run."""
