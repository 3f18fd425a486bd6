"""Every config that the toolboxes ship: which train in blocks, and real runs of those that many people train."""
