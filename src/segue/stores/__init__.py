"""Where runs are kept. ``base`` is the contract; ``sqlite`` the embedded store; ``artifacts`` holds large values."""
