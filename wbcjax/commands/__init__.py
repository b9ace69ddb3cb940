"""What the commands of `wbcjax` take and tell; a module for each. What a command runs on is imported when it runs."""
