"""Alerts: what is wrong, told once, told again, told when it is over; rows first, then messages."""
