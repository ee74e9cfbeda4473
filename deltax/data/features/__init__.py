"""Features of videos, and what is known of pairs of them."""
