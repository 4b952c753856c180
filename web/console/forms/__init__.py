"""What a person typed, as documents of the configuration; and its mistakes, beside the field that has them."""
