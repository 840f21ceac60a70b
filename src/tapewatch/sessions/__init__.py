"""When markets are open, and what date it is for a trader."""
