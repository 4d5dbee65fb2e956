"""Engines that run a plan: bubblewrap, docker."""
