"""The async shell around ``core``: it calls steps, keeps time, writes the journal and holds the lease."""
