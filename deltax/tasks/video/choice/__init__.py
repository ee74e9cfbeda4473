"""Which students, for a budget: by gates that learn, and what they pay."""
