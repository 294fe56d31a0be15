"""Ground that everything stands on: errors, shapes, log-space numerics, batches, states, probe states."""
