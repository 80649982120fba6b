"""The one way to the API server: `observe/` reads and `act/` writes through it, nobody else does."""
