"""The method that suits a scan, chosen by what is known of it."""
