"""Objects and probes of many kinds, made by seeded generators: what a campaign simulates."""
