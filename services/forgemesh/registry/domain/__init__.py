"""What the registry decides, without a wire, a clock or a disk."""
