"""The event log: append, rotate, tail, and fold into denials for people."""
