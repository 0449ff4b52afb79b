"""What one phase has shown, as an object for scripts, as JSON lines, as TensorBoard events."""
