"""A page on this machine alone that enlarges pictures and shows them before and after."""
