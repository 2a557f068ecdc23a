"""Floor 6: routes that translate, call one use case, and translate back. They decide nothing."""
