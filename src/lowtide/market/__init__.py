"""Floor 2, the pure core: values in, values out. No clock, database, network, logging or framework."""
