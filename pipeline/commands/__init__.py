"""Commands beside the stages: one module a command, none knows another."""
