"""Which students a budget buys: costs, sensitivities and choices."""
