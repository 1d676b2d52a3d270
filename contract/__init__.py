"""What all sides share, and nothing else: files people write, documents jobs leave, keys, the store."""
