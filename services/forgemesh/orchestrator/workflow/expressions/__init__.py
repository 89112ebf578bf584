"""Templates and the expressions in them."""
