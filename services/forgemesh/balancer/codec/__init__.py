"""Messages of the API, checked and translated to the domain, and back."""
