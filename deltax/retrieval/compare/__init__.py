"""One query against many videos: fast, and in bounded memory."""
