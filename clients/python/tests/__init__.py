"""Tests. Files named test_ are pure; those named real_ want a broker and a worker (cargo xtask python)."""
