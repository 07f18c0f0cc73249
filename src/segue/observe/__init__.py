"""What can be read of a store besides its runs: subscribers and readers, never part of a decision."""
