"""Which videos of a collection are copies of each other, or hold a part."""
