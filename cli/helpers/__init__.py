"""What commands share: words on the screen, options, tables, and how a command is stopped."""
