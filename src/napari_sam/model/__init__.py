"""Segment Anything in plain PyTorch: configuration, network and checkpoints."""
