"""Pages that show what is inside: one HTML file each, with nothing in it that comes from outside."""
