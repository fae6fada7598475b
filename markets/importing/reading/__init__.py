"""Files into parsed rows: their shape, their lines, their values, and what is refused of them."""
