"""What goes wrong on the way, built in on purpose; afterwards ``isovox run`` gives the same bytes and the counts add up."""
