"""Training of the embedded model: data, simulated clicks, losses and the loop."""
