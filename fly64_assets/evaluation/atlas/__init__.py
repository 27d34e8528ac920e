"""What a campaign's table says: who wins where, with significance, and a short law of the errors."""
