"""What the daemon shows over HTTP: the APIs, the exposition and the live page."""
