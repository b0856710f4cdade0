"""What is planned, restored, checked and recorded."""
