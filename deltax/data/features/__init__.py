"""Features of videos in files, and batches of pairs and triplets of them."""
