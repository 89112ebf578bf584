"""How values are written that people give: the same wherever they write them."""
