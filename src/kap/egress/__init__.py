"""The TCP planes: sans-io protocol rules, the data plane, and the mitmproxy frame around it."""
