"""Everything that talks to Redis: one client a process, its state, and the names of our keys there."""
