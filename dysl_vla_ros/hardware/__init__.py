"""What the machine says of itself: power mode, clocks, temperatures, throttling."""
