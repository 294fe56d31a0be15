"""The gallery: scripts read, run and shown on two pages; they lie in the folder `gallery/` of a checkout."""
