"""What happens to circuits, health, load and policies, told to whoever watches."""
