"""Floor 4: providers' wires, one file each, on one transport. Foreign words stop here."""
