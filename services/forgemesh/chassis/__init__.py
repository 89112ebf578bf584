"""What every process of the mesh needs, whatever it does."""
