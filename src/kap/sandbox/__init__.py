"""From what is declared to what will run: plans, bubblewrap argv, seccomp filters, compose overlays as data. Pure."""
