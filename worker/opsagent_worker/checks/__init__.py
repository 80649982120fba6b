"""Health checks of other systems: what `monitor` and `investigate` tasks look with."""
