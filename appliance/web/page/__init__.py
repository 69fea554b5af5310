"""What any page has: its frame, forms, lists, charts, formats and labels. Knows no concept of the product."""
