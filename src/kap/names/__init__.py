"""The bottom room: hosts, targets, addresses and host patterns as values. Pure; knows no document, no policy."""
