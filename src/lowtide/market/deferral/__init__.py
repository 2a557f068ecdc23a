"""When to run what can wait (MARKET.md section 9): safety first, then known prices, then forecasts."""
