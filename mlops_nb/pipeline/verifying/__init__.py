"""The parts of a proof: the whole notebook, every step alone, and what differs between them."""
