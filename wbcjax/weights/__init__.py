"""Other people's weights into our parameter trees."""
