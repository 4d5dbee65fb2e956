"""The core: request -> decide -> decision, explain. Pure."""
