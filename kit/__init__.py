"""What every room needs and none owns; it knows no room."""
