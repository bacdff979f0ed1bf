"""What every request passes before its route: limits, keys, bodies, and what routes depend on."""
