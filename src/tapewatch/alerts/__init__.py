"""What people are told about alerts, and when: pure stages, each with a reason."""
