"""Where a policy is trained and tried."""
