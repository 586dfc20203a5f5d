"""What is done to a whole data set: look it over, split it, fetch it, make one."""
