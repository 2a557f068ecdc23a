"""Floor 5: the use cases, one file each. They read the clock, load, ask the core, save, and act; they hold no formula."""
